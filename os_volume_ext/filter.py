"""The filter: takes the requests that are ours and passes the others on, untouched.

Of a request's environ it reads PATH_INFO to see whose it is. Of our own requests it reads, besides what
``identity`` lists: REQUEST_METHOD, QUERY_STRING, CONTENT_TYPE, CONTENT_LENGTH, wsgi.input,
wsgi.input_terminated, HTTP_TRANSFER_ENCODING, HTTP_ACCEPT, openstack.request_id and, for a microversion,
HTTP_OPENSTACK_API_VERSION and HTTP_X_OPENSTACK_NOVA_API_VERSION; it changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .api.discovery import Discovery
from .api.routing import ATTACHMENTS, EXTENSIONS, Router
from .assembly import assemble_current
from .settings import Settings, warn_of_hidden
from .wsgi import WSGIApp


def filter_factory(global_conf: Mapping[str, str], **local_conf: str) -> Callable[[WSGIApp], WSGIApp]:
    """Make the filter for PasteDeploy.

    :param global_conf: what ``[DEFAULT]`` holds; it is the host's.
    :param local_conf: the options of the filter's section; see ``settings``.
    :raises ConfigurationError: if one of them is missing, unknown or wrong.
    """
    warn_of_hidden(global_conf)
    settings = Settings.parse(local_conf)
    return lambda app: _filter(app, settings)


def make_filter(app: WSGIApp, **options: str) -> WSGIApp:
    """Wrap a WSGI application, without PasteDeploy.

    :param options: the same as in a paste file: ``make_filter(app, **{"backend": "directory", ...})``.
    :raises ConfigurationError: if one of them is missing, unknown or wrong.
    """
    return _filter(app, Settings.parse(options))


def _filter(app: WSGIApp, settings: Settings) -> WSGIApp:
    assembly = assemble_current(settings)
    resource = assembly.resource(app)
    discovery = Discovery(app)
    match_path = Router().match
    background = assembly.background

    def ours(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match = match_path(environ["PATH_INFO"])
        if match is None:
            return app(environ, start_response)
        if match.resource in ("collection", "member"):
            background()
            return resource(environ, start_response, match)
        if environ["REQUEST_METHOD"] != "GET":
            return app(environ, start_response)
        return discovery(environ, start_response, match)

    def volume_attachments(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            path = environ["PATH_INFO"]
        except KeyError:
            return app(environ, start_response)
        # A word longer than the path costs no search; and to look for one rare letter first is cheaper than for a word.
        if ATTACHMENTS in path or ("x" in path and EXTENSIONS in path):
            return ours(environ, start_response)
        return app(environ, start_response)

    return volume_attachments
