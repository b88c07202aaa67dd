"""``os-volume-ext serve``: serve a paste file with waitress, for trying it out."""

import argparse
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cliff.command import Command
from webob.exc import HTTPBadRequest

from ..errors import ConfigurationError
from ..wsgi import WSGIApp
from . import config
from .loading import Loader, read_paste

THREADS = 32  # more than the requests that wait for hanging backends (1.5 * max_operations) of two filters


_REMEDIES = {
    errno.EADDRINUSE: "end the process that does, or pass another --port",
    errno.EADDRNOTAVAIL: "pass an address of this machine as --host, such as 127.0.0.1",
    errno.EACCES: "only root may listen on this port: pass a --port of 1024 or more",
}


def check_host(host: str) -> None:
    """Check that ``--host`` can be resolved.

    :raises ConfigurationError: if it can't.
    """
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a host name"
        raise ConfigurationError(
            f"--host is {host[:50]!r}: it can't be resolved: {reason}: "
            "pass an address of this machine, such as 127.0.0.1"
        ) from error


class Serve(config.OwnCommand, Command):  # type: ignore[misc]
    """Serve the applications of a paste file over HTTP, until Ctrl-C is pressed."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        config.add_paste(parser)
        parser.add_argument(
            "--name", action=config.Text, default="main", help="the application's section (default: main)"
        )
        parser.add_argument(
            "--host", action=config.Text, default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)"
        )
        parser.add_argument(
            "--port",
            help="the port to listen on, and the value of the variable port in the paste file "
            f"(default: $OS_VOLUME_EXT_PORT, or {config.DEFAULT_PORT})",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        check_host(parsed_args.host)
        port = config.port(parsed_args)
        signal.signal(signal.SIGTERM, _exit)  # before the port is open, which shows that it serves
        logging.getLogger("os_volume_ext").setLevel(logging.INFO)
        create_server = _waitress()
        path = config.paste_file(parsed_args)
        app = Loader(path, config.variables(parsed_args)).load(parsed_args.name)
        try:
            server = create_server(_only_paths(app), host=parsed_args.host, port=port, threads=THREADS)
        except OSError as error:
            where = f"{parsed_args.host}:{port}"
            remedy = _REMEDIES.get(error.errno or 0, "pass another --host or --port")
            raise ConfigurationError(f"cannot listen on {where}: {error.strerror or error}: {remedy}") from error
        url = f"http://{parsed_args.host}:{port}"
        self.app.stdout.write(f"Serving {path} at {url}; press Ctrl-C to stop.\n{_examples(path, url)}")
        self.app.stdout.flush()
        server.run()


def _only_paths(app: WSGIApp) -> WSGIApp:
    """Refuse targets such as that of ``OPTIONS *``, on which Paste's urlmap fails."""

    def handle(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        is_path = not path or path.startswith("/")
        handler: WSGIApp = app if is_path else HTTPBadRequest("The request's target must be a path.")
        return handler(environ, start_response)

    return handle


def _waitress() -> Callable[..., Any]:
    try:
        from waitress import create_server
    except ImportError as error:
        raise ConfigurationError("serve needs waitress: install os-volume-ext[serve]") from error
    found: Callable[..., Any] = create_server
    return found


def _examples(path: Path, url: str) -> str:
    """Return the option ``try`` of the paste file's section ``[serve]``."""
    text = read_paste(path).get("serve", "try", fallback="")
    return f"{text.strip().replace('{url}', url)}\n" if text else ""


def _exit(number: int, frame: Any) -> None:
    raise SystemExit(0)
