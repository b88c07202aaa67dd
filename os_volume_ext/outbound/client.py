"""Requests to other services over HTTP.

Each has a deadline, verifies TLS, follows no redirect and ignores ``.netrc`` and, unless configured, the proxies of the
environment. An error shows no header, token or password, so it never quotes an exception of ``requests``.
"""

import io
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, ProxyError
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import TimeoutError as PoolTimeout

from ..errors import ConfigurationError, RequestFailed
from ..perprocess import PerProcess
from ..threadpool import DaemonThreadPool, PendingCall
from .urls import at_origin, hide_password, origin

T = TypeVar("T")

TIMEOUT = 30.0  # seconds for one request, until its response has been read
MAX_BODY = 64 * 1024 * 1024  # bytes of a response
CHUNK = 64 * 1024

_NOT_URLS = (InvalidSchema, InvalidURL, MissingSchema)
_HEADER = re.compile(r"[!-~]([ -~]*[!-~])?")

_threads = PerProcess(DaemonThreadPool)
_current = threading.local()


class Client:
    """Sends requests to one service. It has no state, so threads can share it, and it survives a fork."""

    def __init__(
        self,
        *,
        prefix: str,
        cafile: str | None = None,
        insecure: bool = False,
        proxies_from_environment: bool = False,
        timeout: float = TIMEOUT,
        max_body: int = MAX_BODY,
    ) -> None:
        """Check the CA file; nothing is connected.

        :param prefix: of the options, for messages, such as ``compute.``.
        :param cafile: the certificates to trust; None: those that come with ``requests``.
        :param insecure: whether to accept any certificate.
        :param proxies_from_environment: whether ``http_proxy``, ``https_proxy`` and ``no_proxy`` apply.
        :param timeout: seconds for one request.
        :param max_body: bytes that a response may have.
        :raises ConfigurationError: if the CA file has no certificate or can't be read.
        """
        if cafile is not None:
            _check_cafile(f"{prefix}cafile", cafile)
        self._prefix = prefix
        self._verify: bool | str = False if insecure else cafile or True
        self._proxies_from_environment = proxies_from_environment
        self._timeout = timeout
        self._max_body = max_body

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Return the response to a GET request; see ``request``."""
        return self.request("GET", url, headers)

    def request(
        self, method: str, url: str, headers: Mapping[str, str], *, json: Any = None, timeout: float | None = None
    ) -> requests.Response:
        """Return the response to a request, whatever its status.

        :param method: such as ``POST``.
        :param url: may have a user and a password.
        :param headers: sent as they are.
        :param json: the body, as a document; None for no body.
        :param timeout: seconds; None for the client's.
        :raises RequestFailed: if there is no response.
        """
        for name, value in headers.items():
            if not _HEADER.fullmatch(value):
                raise RequestFailed(f"{name} can't be sent: it has a line break or another invalid character")
        options = {"headers": dict(headers), "json": json}
        return self.call(url, [url], lambda session: session.request(method, url, **options), timeout)

    def call(
        self,
        name: str,
        urls: Collection[str],
        function: Callable[[requests.Session], T],
        timeout: float | None = None,
    ) -> T:
        """Call a function that sends requests, with one deadline for all of them.

        :param name: of the service, for messages; the password of a URL is hidden.
        :param urls: configured ones; other hosts, which a response may name, are not requested.
        :param function: gets the session to send them with, which is closed afterwards. After the deadline it goes on
            in its thread until it next uses a connection.
        :param timeout: seconds until the deadline; None for the client's.
        :raises RequestFailed: if the function fails or does not return in time.
        """
        sockets = _Sockets()
        shown = hide_password(name)
        timeout = self._timeout if timeout is None else timeout
        try:
            call: PendingCall[T] = _threads().submit("os-volume-ext-http", self._run, sockets, urls, function, timeout)
            if not call.is_done_within(timeout):
                raise RequestFailed(f"{shown} {_late(timeout)}")
            return call.result()
        except RequestFailed:
            raise
        except Exception as error:  # of requests, of urllib3, of any authentication plugin
            # Not chained: a traceback would show what these exceptions quote, such as a header.
            raise RequestFailed(f"{shown} {self._describe(error, timeout)}") from None
        finally:
            sockets.shut_down()

    def _run(
        self,
        sockets: "_Sockets",
        urls: Collection[str],
        function: Callable[[requests.Session], T],
        timeout: float,
    ) -> T:
        _current.sockets = sockets
        try:
            with _Session(urls, timeout, self._verify, self._proxies_from_environment, self._max_body) as session:
                return function(session)
        finally:
            del _current.sockets

    def _describe(self, error: BaseException, timeout: float) -> str:
        """Return what happened, as the rest of a sentence that begins with the service."""
        chain = list(_chain(error))
        through = " through the proxy" if any(isinstance(each, ProxyError) for each in chain) else ""
        for each in reversed(chain):
            match each:
                case ssl.SSLCertVerificationError():
                    reason = each.verify_message.rstrip(".")
                    return f"has a certificate that is not trusted: {reason}: check {self._prefix}cafile"
                case ssl.SSLError():
                    return f"can't be reached: TLS failed: {each.reason}"
                case TimeoutError() | PoolTimeout() | requests.Timeout():
                    return _late(timeout)
                case OSError(strerror=str(reason)):
                    return f"can't be reached{through}: {reason}"
        if any(isinstance(each, _NOT_URLS) for each in chain):
            return "failed: it is not a URL such as http://controller:8774"
        if any(isinstance(each, requests.ConnectionError) for each in chain):
            return f"can't be reached{through}: no connection"
        return f"failed: {type(error).__name__}"


class _Session(requests.Session):
    """Its responses have been read, within a limit."""

    def __init__(
        self,
        urls: Collection[str],
        timeout: float,
        verify: bool | str,
        proxies_from_environment: bool,
        max_body: int,
    ) -> None:
        super().__init__()
        self.trust_env = False  # proxies, .netrc, the CA
        self._urls = urls
        self._timeout = timeout
        self._verify = verify
        self._proxies_from_environment = proxies_from_environment
        self._max_body = max_body
        self.mount("http://", _Adapter())
        self.mount("https://", _Adapter())

    def request(self, method: Any, url: Any, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request. keystoneauth has its own values for some of these options."""
        options |= {"timeout": self._timeout, "verify": self._verify, "stream": True, "allow_redirects": False}
        options["proxies"] = get_environ_proxies(url) if self._proxies_from_environment else {}
        response = super().request(method, self._allowed(url), *arguments, **options)
        try:
            response.raw = io.BytesIO(self._body(response, url))
        except BaseException:
            response.close()  # the session closes connections only whose responses were read
            raise
        return response

    def _body(self, response: requests.Response, url: str) -> bytearray:
        body = bytearray()
        for chunk in response.raw.stream(CHUNK, decode_content=True):
            body += chunk
            if len(body) > self._max_body:
                raise RequestFailed(f"{hide_password(url)} sent more than {self._max_body} bytes")
        return body

    def _allowed(self, url: str) -> str:
        """Return the URL, at one of the configured origins."""
        for configured in self._urls:
            if allowed := at_origin(configured, url):
                return allowed
        raise RequestFailed(
            f"{hide_password(next(iter(self._urls), 'a plugin'))} refers to {origin(url)}, which no option names"
        )


class _Adapter(HTTPAdapter):
    """Makes connections whose sockets are known."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


class _Sockets:
    """The sockets of a call, which are shut down at its deadline, so that its thread stops waiting for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._shut_down = False

    def add(self, descriptor: int) -> None:
        with self._lock:
            if self._shut_down:
                raise TimeoutError
            # A duplicate, because TLS takes the descriptor away from the socket that it wraps.
            self._sockets.append(socket.socket(fileno=os.dup(descriptor)))

    def shut_down(self) -> None:
        with self._lock:
            self._shut_down = True
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self._sockets.clear()


class _Known:
    """Part of a connection: adds its sockets, also during a TLS handshake, to those of the current call."""

    _sock: socket.socket | None = None

    @property
    def sock(self) -> socket.socket | None:
        return self._sock

    @sock.setter
    def sock(self, value: socket.socket | None) -> None:
        self._sock = value
        if value is not None:
            _current.sockets.add(value.fileno())


class _Connection(_Known, HTTPConnection):
    pass


class _TLSConnection(_Known, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}


def _check_cafile(option: str, cafile: str) -> None:
    try:
        ssl.create_default_context(cafile=cafile)
    except ssl.SSLError as error:
        raise ConfigurationError(f"{option} is {cafile!r}: it must be a file of certificates in PEM format") from error
    except OSError as error:
        raise ConfigurationError(f"{option} is {cafile!r}: it can't be read: {error.strerror}") from error


def _late(timeout: float) -> str:
    return f"did not respond within {timeout:g} seconds"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
