"""The filter: handles the requests to our paths and passes all others on, untouched.

Of every request it reads PATH_INFO. Of a request to our paths it reads, besides the keys that ``api.identity`` lists:
REQUEST_METHOD, QUERY_STRING, CONTENT_TYPE, CONTENT_LENGTH, wsgi.input, wsgi.input_terminated, HTTP_TRANSFER_ENCODING,
HTTP_ACCEPT, openstack.request_id and, for a microversion, HTTP_OPENSTACK_API_VERSION and
HTTP_X_OPENSTACK_NOVA_API_VERSION. It changes no key.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from .backends.base import Backend
from .catalog.base import VolumeCatalog
from .settings import Settings, warn_of_hidden
from .wsgi import WSGIApp

if TYPE_CHECKING:
    from .assembly import Assembly


class Filter(Protocol):
    """A filter around a WSGI application: a WSGI application itself."""

    close: Callable[[], None]
    """Stops the threads and closes the connections that the filter opened in this process. No request may follow."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any], /) -> Iterable[bytes]:
        """Handle a request."""


def filter_factory(global_conf: Mapping[str, str], **local_conf: str) -> Callable[[WSGIApp], Filter]:
    """Make the filter for PasteDeploy.

    :param global_conf: the content of ``[DEFAULT]``, which is the host's.
    :param local_conf: the options of the filter's section; see ``settings``.
    :raises ConfigurationError: if an option is missing, unknown or invalid.
    """
    from .assembly import assemble_current  # commands find this function, and do not need what it imports

    warn_of_hidden(global_conf)
    settings = Settings.parse(local_conf)
    return lambda app: wrap(app, assemble_current(settings))


def make_filter(
    app: WSGIApp, *, backend: Backend | str | None = None, catalog: VolumeCatalog | str = "sql", **options: object
) -> Filter:
    """Wrap a WSGI application, without PasteDeploy.

    ``contextlib.closing`` closes the filter at the end of a block.

    :param app: the WSGI application.
    :param backend: the entry point name of a backend, with its ``backend.*`` options; or an object, without any. It is
        required.
    :param catalog: the same for the catalog.
    :param options: the options of a paste file, as strings or as Python values: ``max_limit=5``, ``metrics=True``,
        ``server_states=["ACTIVE"]``, ``**{"database.url": "sqlite:////path/file"}``.
    :raises ConfigurationError: if an option is missing, unknown or invalid.
    """
    from .assembly import assemble_current

    objects: dict[str, Any] = {}
    for name, value, kind in (("backend", backend, Backend), ("catalog", catalog, VolumeCatalog)):
        if isinstance(value, kind):
            objects[name] = value
        else:
            options[name] = value
    return wrap(app, assemble_current(Settings.parse(options, objects=objects), **objects))


def wrap(app: WSGIApp, assembly: "Assembly") -> Filter:
    """Put an assembly's resource in front of a WSGI application.

    :param app: the WSGI application.
    :param assembly: of the filter's settings.
    """
    from .api.discovery import Discovery
    from .api.routing import ATTACHMENTS, EXTENSIONS, Router

    # A closure, which adds less to a request that is passed on than an object with ``__call__``.
    resource = assembly.resource(app)
    discovery = Discovery(app)
    match_path = Router().match
    start_periodic_reconciler = assembly.start_periodic_reconciler

    def handle(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match = match_path(environ["PATH_INFO"])
        if match is None:
            return app(environ, start_response)
        if match.resource in ("collection", "member"):
            start_periodic_reconciler()
            return resource(environ, start_response, match)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return app(environ, start_response)
        return discovery(environ, start_response, match)

    def volume_attachments(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            path = environ["PATH_INFO"]
        except KeyError:
            return app(environ, start_response)
        # The search for one character, which both words have, costs half as much as for a word.
        if "n" in path and (ATTACHMENTS in path or EXTENSIONS in path):
            return handle(environ, start_response)
        return app(environ, start_response)

    made = cast(Filter, volume_attachments)
    made.close = assembly.close
    return made
