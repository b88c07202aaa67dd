"""A client of the sample, in either dialect and either format."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from webtest import TestApp

from tests.support.dialects import DialectCase
from tests.support.formats import FORMATS, Fault

TestApp.__test__ = False  # its name makes pytest take it for a class of tests

UNIQUE_HEADERS = ("X-Openstack-Request-Id",)


@dataclass(frozen=True)
class Response:
    """A response, read in the format that its Content-Type names."""

    status: int
    headers: Any
    body: bytes

    @property
    def format(self) -> Any:
        """The format that the Content-Type names."""
        media_type, _, charset = self.headers["Content-Type"].partition("; ")
        assert charset == "charset=UTF-8"
        return FORMATS[media_type.removeprefix("application/")]

    @property
    def attachment(self) -> dict[str, Any]:
        """The attachment in the body."""
        return self.format.attachment(self.body)

    @property
    def attachments(self) -> list[dict[str, Any]]:
        """The attachments in the body."""
        return self.format.attachments(self.body)

    @property
    def fault(self) -> Fault:
        """The fault in the body; its code has to be the response's status."""
        fault = self.format.fault(self.body)
        assert fault.code == self.status
        return fault

    @property
    def failure(self) -> tuple[str, int]:
        """The fault's name and status."""
        return self.fault.name, self.status

    @property
    def is_unavailable(self) -> bool:
        """Whether it is a 503 with the time after which to retry."""
        return self.status == 503 and self.fault.name == "serviceUnavailable" and int(self.headers["Retry-After"]) > 0

    @property
    def volumes(self) -> list[str]:
        """The ids of the volumes in the list."""
        return [str(attachment["volumeId"]) for attachment in self.attachments]

    def lasting(self) -> tuple[int, dict[str, str], bytes]:
        """Return what is the same in the response to a repeated request."""
        kept = {name: value for name, value in self.headers.items() if name not in UNIQUE_HEADERS}
        return self.status, kept, self.body


@dataclass(frozen=True)
class Client:
    """Sends requests in one dialect, one format and, if one is named, one microversion, as one user."""

    app: TestApp
    dialect: DialectCase
    format: Any
    user: str | None = "demo"
    version: str | None = None

    def by(self, user: str | None) -> "Client":
        """Return the same client for another user; None sends no token."""
        return replace(self, user=user)

    def at(self, version: str | None) -> "Client":
        """Return the same client for a microversion; None names none."""
        return replace(self, version=version)

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        environ: Mapping[str, Any] | None = None,
        without: tuple[str, ...] = (),
    ) -> Response:
        """Send a request.

        :param without: keys to remove from the environ.
        """
        own = {"X-Auth-Token": f"{self.user}-token"} if self.user else {}
        if self.version:
            own["OpenStack-API-Version"] = f"compute {self.version}"
        request = self.app.RequestClass.blank(path, method=method, environ=dict(environ or {}))
        if body:
            request.body = body
            request.content_type = self.format.media_type
        request.headers.update({"Accept": self.format.media_type} | own | dict(headers or {}))
        for key in without:
            request.environ.pop(key, None)
        response = self.app.do_request(request, expect_errors=True)
        return Response(response.status_int, response.headers, response.body)

    def path(self, server: str | None = None, volume: str | None = None) -> str:
        """Return the path of a server's attachments, or of one of them."""
        collection = self.dialect.collection(server)
        return collection if volume is None else f"{collection}/{volume}"

    def list(self, server: str | None = None, **query: Any) -> Response:
        """List attachments."""
        names = {"since": "changes-since"}
        text = urlencode({names.get(name, name): value for name, value in query.items()})
        return self.request("GET", self.path(server) + (f"?{text}" if text else ""))

    def show(self, server: str | None = None, volume: str | None = None) -> Response:
        """Show an attachment."""
        return self.request("GET", self.path(server, volume or self.dialect.volume))

    def attach(self, server: str | None = None, volume: str | None = None, **more: Any) -> Response:
        """Attach a volume."""
        volume = volume or self.dialect.volume
        try:
            volume_id = self.dialect.number(volume)
        except ValueError:
            volume_id = volume
        return self.request("POST", self.path(server), self.format.request(volume_id, **more))

    def put(
        self, server: str | None = None, volume: str | None = None, new_volume: str | None = None, **more: Any
    ) -> Response:
        """Update an attachment, or swap its volume.

        :param new_volume: the new volume; None for the same.
        """
        volume = volume or self.dialect.volume
        return self.request("PUT", self.path(server, volume), self.format.request(new_volume or volume, **more))

    def detach(self, server: str | None = None, volume: str | None = None) -> Response:
        """Detach a volume."""
        return self.request("DELETE", self.path(server, volume or self.dialect.volume))

    def shown(self, server: str | None = None, volume: str | None = None, device: str | None = None) -> dict[str, Any]:
        """Return an attachment as this dialect and this format show it."""
        dialect = self.dialect
        device = dialect.first_device if device is None else device
        return self.format.shown(dialect.shown(server or dialect.server, volume or dialect.volume, device))
