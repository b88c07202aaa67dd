"""The compute API: is there such a server, and may the caller see it?

Within a request the wrapped application is asked, in-process and as the caller. Outside of one, and for
what only administrators get to see, ``compute.url`` is asked over HTTP with the operator's credentials.
"""

import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import requests
from webob import Request

from . import wsgi
from .backends.base import Server
from .context import RequestContext

LOG = logging.getLogger(__name__)

TIMEOUT = 30  # seconds for one request to ``compute.url``

# Of the caller's request, not of ours: its body, its conditions, its microversion, and what frameworks keep.
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


class ServerMissing(Exception):
    """There is no such server, or none that the caller may know of."""

    def __init__(self, server_id: str) -> None:
        """:param server_id: the id that was asked for."""
        super().__init__(f"Server {server_id} could not be found.")


class ComputeRefused(Exception):
    """The compute API would not answer this caller: 400, 401 or 403, which our caller gets too."""

    def __init__(self, code: int, message: str) -> None:
        """:param code: the HTTP status. :param message: the compute API's own words."""
        super().__init__(message)
        self.code = code


class ComputeUnavailable(Exception):
    """The compute API can't be asked, or does not make sense. Callers get 503."""


class ComputeAPI:
    """The wrapped application, asked as the caller."""

    def __init__(
        self,
        app: wsgi.WSGIApp,
        headers: Mapping[str, str],
        read_path: str | None = None,
        privileged: "RemoteComputeAPI | None" = None,
    ) -> None:
        """Say whom to ask, and how.

        :param app: the WSGI application.
        :param headers: to send along, such as a microversion.
        :param read_path: a cheaper way to see that a server is there, such as ``/servers/{server_id}/metadata``.
        :param privileged: whom to ask for the host that a backend needs and the caller does not see.
        """
        self._app = app
        self._headers = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
        self._read_path = read_path
        self._privileged = privileged

    def server(self, context: RequestContext, server_id: str) -> Server:
        """Return a server that the caller may see.

        :raises ServerMissing, ComputeRefused, ComputeUnavailable: if there is none to return.
        """
        server = self._server(context, server_id)
        if self._privileged is None or server.host is not None:
            return server
        seen = self._privileged.server(server_id)
        return replace(server, host=seen.host, instance_name=seen.instance_name)

    def project(self, context: RequestContext, server_id: str) -> str | None:
        """Return the project of a server that the caller may see; None where ``read_path`` does not tell.

        :raises ServerMissing, ComputeRefused, ComputeUnavailable: if the caller may not see it.
        """
        if self._read_path is None:
            return self._server(context, server_id).project_id
        self._get(context, server_id, self._read_path.replace("{server_id}", server_id))
        return None

    def _server(self, context: RequestContext, server_id: str) -> Server:
        return _parse(self._get(context, server_id, f"/servers/{server_id}"), server_id)

    def _get(self, context: RequestContext, server_id: str, path: str) -> bytes:
        request = Request(self._environ(context, path))
        try:
            status, body = self._call(request)
        except Exception as error:
            LOG.exception("%s the compute API failed at %r", context.request_id, path)
            raise ComputeUnavailable(f"GET {path} failed") from error
        if status != 200:
            LOG.info("%s the compute API answered %s to GET %r", context.request_id, status, path)
            raise _refusal(status, body, server_id)
        return body

    def _call(self, request: Request) -> tuple[int, bytes]:
        status, _, chunks = request.call_application(self._app)
        body = wsgi.read(chunks)
        return int(status.split(None, 1)[0]), body

    def _environ(self, context: RequestContext, path: str) -> dict[str, Any]:
        environ = dict(context.environ)
        # No header's key has a dot; to look for one is cheaper than for three prefixes.
        for key in [*_DROPPED, *(key for key in environ if "." in key and key.startswith(_DROPPED_PREFIXES))]:
            environ.pop(key, None)
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


class RemoteComputeAPI:
    """The compute API at ``compute.url``, asked as one who sees every project."""

    def __init__(self, url: str, token: Callable[[], str], headers: Mapping[str, str]) -> None:
        """Say whom to ask.

        :param url: such as ``http://controller:8774/v2.1``.
        :param token: gives a valid token each time it is called.
        :param headers: to send along, such as a microversion.
        """
        self._url = url.rstrip("/")
        self._token = token
        self._headers = {"Accept": "application/json", **headers}

    def server(self, server_id: str) -> Server:
        """Return a server. :raises ServerMissing, ComputeUnavailable: if there is none to return."""
        response = self._get(f"{self._url}/servers/{server_id}")
        if response.status_code == 404:
            raise ServerMissing(server_id)
        if response.status_code != 200:
            raise ComputeUnavailable(f"{self._url} answered {response.status_code} for server {server_id}")
        return _parse(response.content, server_id)

    def check(self) -> None:
        """See whether the servers of all projects can be had. :raises ComputeUnavailable: if not."""
        next(self._servers("&limit=1"), None)

    def servers(self) -> Iterator[Server]:
        """Yield the servers of all projects. :raises ComputeUnavailable: if they can't be had."""
        return self._servers()

    def _servers(self, query: str = "") -> Iterator[Server]:
        url: str | None = f"{self._url}/servers/detail?all_tenants=1{query}"
        while url:
            response = self._get(url)
            if response.status_code != 200:
                raise ComputeUnavailable(f"{url} answered {response.status_code}")
            try:
                document = response.json()
                yield from [_server(each) for each in document["servers"]]
                links = document.get("servers_links", ())
                url = next((link["href"] for link in links if link["rel"] == "next"), None)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                raise ComputeUnavailable(f"{url} did not answer with servers") from error

    def _get(self, url: str) -> requests.Response:
        try:
            headers = {**self._headers, "X-Auth-Token": self._token()}
            return requests.get(url, headers=headers, timeout=TIMEOUT, allow_redirects=False)
        except requests.ConnectionError as error:
            raise ComputeUnavailable(f"{url} can't be asked: no connection") from error
        except Exception as error:  # requests' others and those of any authentication plugin
            raise ComputeUnavailable(f"{url} can't be asked: {error}") from error


def _refusal(status: int, body: bytes, server_id: str) -> Exception:
    if status == 404:
        return ServerMissing(server_id)
    if status not in (400, 401, 403):
        return ComputeUnavailable(f"the compute API answered {status}")
    try:
        (fault,) = json.loads(body).values()
        return ComputeRefused(status, str(fault["message"]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ComputeRefused(status, f"The compute API refused to show server {server_id}.")


def _parse(body: bytes, server_id: str) -> Server:
    try:
        server = _server(json.loads(body)["server"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ComputeUnavailable(f"the compute API's answer for server {server_id} makes no sense") from error
    if server.id != server_id:
        raise ComputeUnavailable(f"the compute API answered with server {server.id!r} for {server_id}")
    return server


def _server(document: Mapping[str, Any]) -> Server:
    project_id, status = document["tenant_id"], document["status"]
    if not (isinstance(project_id, str) and isinstance(status, str)):
        raise TypeError("a server's tenant_id and status must be strings")
    return Server(
        str(document["id"]).lower(),
        project_id,
        status.upper(),
        bool(document.get("locked", False)),
        document.get("OS-EXT-SRV-ATTR:host"),
        document.get("OS-EXT-SRV-ATTR:instance_name"),
    )
