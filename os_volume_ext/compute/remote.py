"""The compute API at ``compute.url``, called over HTTP with the operator's credentials."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from ..errors import ComputeUnavailable, RequestFailed, ServerMissing
from ..models import Server
from ..outbound.documents import MALFORMED
from ..outbound.urls import at_origin, hide_password, origin
from ..perprocess import PerProcess
from .documents import is_fault, parse_server, read_server

if TYPE_CHECKING:  # requests takes long to import, and only compute.url needs it
    import requests

    from ..outbound.client import Client

MAX_CONCURRENT = 8


class RemoteComputeAPI:
    """The compute API at ``compute.url``, called with credentials that see every project."""

    def __init__(
        self,
        *,
        url: str,
        token: Callable[[], str],
        headers: Mapping[str, str],
        client: "Client",
        max_concurrent: int = MAX_CONCURRENT,
    ) -> None:
        """Prepare requests; nothing is connected yet.

        :param url: such as ``http://controller:8774/v2.1``; it may have a user and a password.
        :param token: returns a valid token, or raises ``RequestFailed``.
        :param headers: sent with each request, such as a microversion.
        :param client: sends the requests.
        :param max_concurrent: how many requests one process sends at once. The URL is mostly that of the API that this
            is part of: its threads must not all wait for a request that needs another one.
        """
        self._url = url.rstrip("/")
        self._permits = PerProcess(lambda: threading.BoundedSemaphore(max_concurrent))
        self._client = client
        self._token = token
        self._headers = {"Accept": "application/json", **headers}

    def __str__(self) -> str:
        return hide_password(self._url)

    def server(self, server_id: str) -> Server:
        """Return a server.

        :raises ServerMissing: if it is gone (docs/protocol.rst, R25).
        :raises ComputeUnavailable: if the compute API fails, or it is not certain that it shows all servers.
        """
        response = self._get(f"{self._url}/servers/{server_id}")
        if response.status_code == 404:
            self._check_missing(server_id, response)
            raise ServerMissing(server_id)
        if response.status_code != 200:
            raise ComputeUnavailable(f"{self} responded with {response.status_code} for server {server_id}")
        server = parse_server(response.content, server_id)
        if server.is_deleted:
            raise ServerMissing(server_id)
        return server

    def check(self) -> None:
        """Check that the servers of all projects can be listed.

        :raises ComputeUnavailable: if not.
        """
        next(self._servers("&limit=1"), None)

    def servers(self) -> Iterator[Server]:
        """Yield the servers of all projects.

        :raises ComputeUnavailable: if the compute API fails.
        """
        return self._servers()

    def _check_missing(self, server_id: str, response: "requests.Response") -> None:
        """Check that a 404 is the compute API's, and that it shows us the servers of all projects."""
        if not is_fault(response.content, "itemNotFound"):
            raise ComputeUnavailable(
                f"{self} responded with 404 for server {server_id}, but without the fault itemNotFound: "
                "a proxy may have responded"
            )
        try:
            self.check()
        except ComputeUnavailable as error:
            raise ComputeUnavailable(
                f"{self} does not show server {server_id}, nor that it shows the servers of all projects: {error}"
            ) from error

    def _servers(self, query: str = "") -> Iterator[Server]:
        url: str | None = f"{self._url}/servers/detail?all_tenants=1{query}"
        requested = set()
        while url:
            requested.add(url)
            shown = hide_password(url)
            response = self._get(url)
            if response.status_code != 200:
                raise ComputeUnavailable(f"{shown} responded with {response.status_code}", response.status_code)
            try:
                document = response.json()
                yield from [read_server(each) for each in document["servers"]]
                links = document.get("servers_links", ())
                href = next((link["href"] for link in links if link["rel"] == "next"), None)
                url = self._at_origin(urljoin(url, href)) if href else None
            except MALFORMED as error:
                raise ComputeUnavailable(f"{shown} did not respond with a list of servers") from error
            if url in requested:
                raise ComputeUnavailable(f"{shown} links to {hide_password(url)}, a page that it has listed already")

    def _at_origin(self, link: str) -> str:
        """Return a link's path and query at the configured scheme, host and port: the token is sent nowhere else."""
        url = at_origin(self._url, link)
        if url is None:
            raise ComputeUnavailable(
                f"{self} links to a page at {origin(link)}: only compute.url's own host is requested"
            )
        return url

    def _get(self, url: str) -> "requests.Response":
        permits = self._permits()
        if not permits.acquire(blocking=False):
            raise ComputeUnavailable(f"too many requests to {self} are in progress")
        try:
            return self._client.get(url, {**self._headers, "X-Auth-Token": self._token()})
        except RequestFailed as error:
            raise ComputeUnavailable(str(error)) from None
        finally:
            permits.release()
