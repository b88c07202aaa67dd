"""The filter: handles the requests of the extension and passes all others to the application unchanged.

Of the environ it reads PATH_INFO to tell them apart. Of the extension's requests it reads, besides what ``identity``
lists: REQUEST_METHOD, QUERY_STRING, CONTENT_TYPE, CONTENT_LENGTH, wsgi.input, wsgi.input_terminated,
HTTP_TRANSFER_ENCODING, HTTP_ACCEPT, openstack.request_id and, for a microversion, HTTP_OPENSTACK_API_VERSION and
HTTP_X_OPENSTACK_NOVA_API_VERSION. It modifies nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from .api.discovery import Discovery
from .api.routing import ATTACHMENTS, EXTENSIONS, Router
from .assembly import Assembly, assemble_current
from .backends.base import Backend
from .catalog.base import VolumeCatalog
from .errors import ConfigurationError
from .settings import Settings, warn_of_hidden
from .wsgi import WSGIApp


class FilteredApp(Protocol):
    """A WSGI application with the filter in front of it."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle a request."""

    def close(self) -> None:
        """Close what the filter has opened in this process, for an application that ends before its process.

        The periodic reconciliation is stopped, queued notifications are sent, database connections are closed. The
        filter is not usable afterwards. Closing it again does nothing.
        """


def filter_factory(global_conf: Mapping[str, str], **local_conf: str) -> Callable[[WSGIApp], FilteredApp]:
    """Make the filter for PasteDeploy.

    :param global_conf: the options of ``[DEFAULT]``, which belong to the compute API.
    :param local_conf: the options of the filter's section.
    :raises ConfigurationError: if an option is unknown, missing or invalid.
    """
    warn_of_hidden(global_conf)
    settings = Settings.parse(local_conf)
    return lambda app: _filter(app, assemble_current(settings))


def make_filter(
    app: WSGIApp, *, backend: Backend | str | None = None, catalog: VolumeCatalog | str = "sql", **options: object
) -> FilteredApp:
    """Wrap a WSGI application, without PasteDeploy.

    :param app: the compute API.
    :param backend: the name of a backend, or a backend object, which has its options already.
    :param catalog: the name of a volume catalog, or a catalog object.
    :param options: the other options of a filter's section, as Python values or as the strings of a paste file:
        ``make_filter(app, backend="directory", max_limit=100, **{"database.url": ...})``.
    :raises ConfigurationError: if an option is unknown, missing or invalid.
    """
    backend_name, backend_object = _name_and_object("backend", backend, Backend, options)
    catalog_name, catalog_object = _name_and_object("catalog", catalog, VolumeCatalog, options)
    settings = Settings.parse(options | {"backend": backend_name, "catalog": catalog_name})
    return _filter(app, assemble_current(settings, backend=backend_object, catalog=catalog_object))


def _name_and_object(option: str, given: object, kind: type, options: Mapping[str, object]) -> tuple[str | None, Any]:
    """Return the value of an option that may be given as an object, and the object, if it is one."""
    if given is None or isinstance(given, str):
        return given, None
    if not isinstance(given, kind):
        raise ConfigurationError(f"{option} is {given!r}: it must be a name or an object of the class {kind.__name__}")
    for name in options:
        if name.startswith(f"{option}."):
            raise ConfigurationError(f"{name} is not an option beside a {option} object, which has its options already")
    return type(given).__name__, given


def _filter(app: WSGIApp, assembly: Assembly) -> FilteredApp:
    resource = assembly.resource(app)
    discovery = Discovery(app)
    match_path = Router().match
    ensure_periodic_reconciler = assembly.ensure_periodic_reconciler

    def handle(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match = match_path(environ["PATH_INFO"])
        if match is None:
            return app(environ, start_response)
        if match.resource in ("collection", "member"):
            ensure_periodic_reconciler()
            return resource(environ, start_response, match)
        if environ["REQUEST_METHOD"] != "GET":
            return app(environ, start_response)
        return discovery(environ, start_response, match)

    def volume_attachments(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            path = environ["PATH_INFO"]
        except KeyError:
            return app(environ, start_response)
        # A word longer than the path costs no search, and one rare letter is found faster than a word.
        if ATTACHMENTS in path or ("x" in path and EXTENSIONS in path):
            return handle(environ, start_response)
        return app(environ, start_response)

    filtered = cast(FilteredApp, volume_attachments)
    filtered.close = assembly.close  # type: ignore[method-assign]
    return filtered
