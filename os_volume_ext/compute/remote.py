"""The compute API at ``compute.url``, called over HTTP with the operator's credentials."""

from collections.abc import Callable, Iterator, Mapping

import requests

from ..errors import ComputeUnavailable, ServerMissing
from ..models import Server
from .documents import MALFORMED, parse_server, read_server

TIMEOUT = 30  # seconds for one request


class RemoteComputeAPI:
    """The compute API at ``compute.url``, called with credentials that see every project."""

    def __init__(self, *, url: str, token: Callable[[], str], headers: Mapping[str, str]) -> None:
        """Prepare requests; nothing is connected yet.

        :param url: such as ``http://controller:8774/v2.1``.
        :param token: returns a valid token.
        :param headers: sent with each request, such as a microversion.
        """
        self._url = url.rstrip("/")
        self._token = token
        self._headers = {"Accept": "application/json", **headers}

    def server(self, server_id: str) -> Server:
        """Return a server.

        :raises ServerMissing: if there is none.
        :raises ComputeUnavailable: if the compute API fails.
        """
        response = self._get(f"{self._url}/servers/{server_id}")
        if response.status_code == 404:
            raise ServerMissing(server_id)
        if response.status_code != 200:
            raise ComputeUnavailable(f"{self._url} responded with {response.status_code} for server {server_id}")
        return parse_server(response.content, server_id)

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

    def _servers(self, query: str = "") -> Iterator[Server]:
        url: str | None = f"{self._url}/servers/detail?all_tenants=1{query}"
        while url:
            response = self._get(url)
            if response.status_code != 200:
                raise ComputeUnavailable(f"{url} responded with {response.status_code}")
            try:
                document = response.json()
                yield from [read_server(each) for each in document["servers"]]
                links = document.get("servers_links", ())
                url = next((link["href"] for link in links if link["rel"] == "next"), None)
            except MALFORMED as error:
                raise ComputeUnavailable(f"{url} did not respond with a list of servers") from error

    def _get(self, url: str) -> requests.Response:
        try:
            headers = {**self._headers, "X-Auth-Token": self._token()}
            return requests.get(url, headers=headers, timeout=TIMEOUT, allow_redirects=False)
        except requests.ConnectionError as error:
            raise ComputeUnavailable(f"{url} can't be reached: no connection") from error
        except Exception as error:  # other exceptions of requests, and those of any authentication plugin
            raise ComputeUnavailable(f"{url} failed: {error}") from error
