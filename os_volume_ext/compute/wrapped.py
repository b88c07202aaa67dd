"""The wrapped application, called in-process as the caller of a request."""

import io
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from .. import wsgi
from ..context import RequestContext
from ..errors import ComputeRefused, ComputeUnavailable, ServerMissing
from ..models import Server
from ..outbound.documents import MALFORMED
from .documents import parse_server
from .remote import RemoteComputeAPI

LOG = logging.getLogger(__name__)

# Headers of the caller's request that do not apply to ours: body, conditions, microversion; and frameworks' caches.
_DROPPED = frozenset((
    "CONTENT_TYPE",
    "HTTP_TRANSFER_ENCODING",
    "wsgi.input_terminated",
    "HTTP_EXPECT",
    "HTTP_RANGE",
    "HTTP_IF_MATCH",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_IF_RANGE",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_X_HTTP_METHOD_OVERRIDE",
    "HTTP_OPENSTACK_API_VERSION",
    "HTTP_X_OPENSTACK_NOVA_API_VERSION",
))  # fmt: skip
_DROPPED_PREFIXES = ("webob.", "routes.", "wsgiorg.")


class ComputeAPI:
    """The wrapped application, called as the caller of the request."""

    def __init__(
        self,
        *,
        app: wsgi.WSGIApp,
        headers: Mapping[str, str],
        read_path: str | None = None,
        privileged: RemoteComputeAPI | None = None,
    ) -> None:
        """Take the application.

        :param app: the WSGI application.
        :param headers: sent with each request, such as a microversion.
        :param read_path: a cheaper path that shows whether a server exists, such as ``/servers/{server_id}/ips``.
        :param privileged: used to look up the host if the backend needs it and the caller does not see it.
        """
        self._app = app
        self._headers = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
        self._read_path = read_path
        self._privileged = privileged

    def server(self, context: RequestContext, server_id: str) -> Server:
        """Return a server that the caller may see.

        :raises ServerMissing: if there is none.
        :raises ComputeRefused: if the compute API refuses to show it.
        :raises ComputeUnavailable: if the compute API fails.
        """
        server = self._server(context, server_id)
        if self._privileged is None or server.host is not None:
            return server
        seen = self._privileged.server(server_id)
        return replace(server, host=seen.host, instance_name=seen.instance_name)

    def find(self, context: RequestContext, server_id: str) -> Server | None:
        """Check that the caller may see a server, and return it; None with ``read_path``, which does not show it.

        :raises ServerMissing: if there is none.
        :raises ComputeRefused: if the compute API refuses to show it.
        :raises ComputeUnavailable: if the compute API fails.
        """
        if self._read_path is None:
            return self._server(context, server_id)
        self._get(context, server_id, self._read_path.replace("{server_id}", server_id))
        return None

    def _server(self, context: RequestContext, server_id: str) -> Server:
        return parse_server(self._get(context, server_id, f"/servers/{server_id}"), server_id)

    def _get(self, context: RequestContext, server_id: str, path: str) -> bytes:
        environ = self._environ(context, path)
        try:
            status, body = wsgi.call(self._app, environ)
        except Exception as error:
            LOG.exception("%s compute API: GET %r failed", context.request_id, path)
            raise ComputeUnavailable(f"GET {path} failed") from error
        if status != 200:
            LOG.info("%s compute API refused GET %r: %s", context.request_id, path, status)
            raise _refusal(status, body, server_id)
        return body

    def _environ(self, context: RequestContext, path: str) -> dict[str, Any]:
        environ = dict(context.environ)
        for key in _dropped(tuple(environ)):
            del environ[key]
        environ.update(
            self._headers,
            REQUEST_METHOD="GET",
            PATH_INFO=f"/{context.path_project}{path}" if context.path_project else path,
            QUERY_STRING="",
            CONTENT_LENGTH="0",
            HTTP_ACCEPT="application/json",
        )
        environ["wsgi.input"] = io.BytesIO()
        return environ


# Cached, since most requests have the same keys; few, since a client chooses some of them.
@lru_cache(maxsize=32)
def _dropped(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([key for key in keys if key in _DROPPED or key.startswith(_DROPPED_PREFIXES)])


def _refusal(status: int, body: bytes, server_id: str) -> Exception:
    if status == 404:
        return ServerMissing(server_id)
    if status not in (400, 401, 403):
        return ComputeUnavailable(f"the compute API responded with {status}")
    try:
        (fault,) = json.loads(body).values()
        return ComputeRefused(status, str(fault["message"]))
    except MALFORMED:
        return ComputeRefused(status, f"The compute API refused to show server {server_id}.")
