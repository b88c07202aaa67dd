"""The sample in front of a real Keystone, and a client of it."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree
from webtest import TestApp

from tests.support.paths import ROOT

TestApp.__test__ = False  # its name makes pytest take it for a class of tests

PASTE = ROOT / "etc" / "api-paste-keystone.ini"
CLI = (sys.executable, "-m", "os_volume_ext.cli.main")


@dataclass(frozen=True)
class DialectCase:
    """The paths of a dialect, and its values that the tests check."""

    name: str
    base: str
    number: type
    volumes: Mapping[str, str]
    device: str
    detached: int


DIALECTS = {
    "cyclades": DialectCase("cyclades", "/compute/v2.0", int, {"here": "501", "there": "502"}, "", 200),
    "openstack": DialectCase(
        "openstack",
        "/v2.1",
        str,
        {"here": "11111111-2222-4333-8444-555555555501", "there": "11111111-2222-4333-8444-555555555502"},
        "/dev/vdb",
        202,
    ),
}


@dataclass(frozen=True)
class State:
    """The sample's directory with a server and a volume in each project, of each dialect."""

    directory: Path
    servers: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Client:
    """Sends requests in one dialect and one format."""

    app: TestApp
    dialect: DialectCase
    format: str
    servers: Mapping[str, str]

    def request(
        self, method: str, token: str | None, where: str, volume: str | None = None, body: bytes = b"", **headers: str
    ) -> Any:
        """Send a request about the attachments of a project's server."""
        path = f"{self.dialect.base}/servers/{self.servers[where]}/os-volume_attachments"
        media_type = f"application/{self.format}"
        request = self.app.RequestClass.blank(path + (f"/{volume}" if volume else ""), method=method)
        if body:
            request.body, request.content_type = body, media_type
        request.headers.update({"Accept": media_type} | ({} if token is None else {"X-Auth-Token": token}))
        request.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return self.app.do_request(request, expect_errors=True)

    def list(self, token: str | None, where: str = "here", **headers: str) -> Any:
        """List attachments."""
        return self.request("GET", token, where, **headers)

    def show(self, token: str | None, where: str = "here", **headers: str) -> Any:
        """Show the attachment of the project's volume."""
        return self.request("GET", token, where, self.dialect.volumes[where], **headers)

    def attach(self, token: str | None, where: str = "here", **headers: str) -> Any:
        """Attach the project's volume."""
        volume = self.dialect.number(self.dialect.volumes[where])
        if self.format == "json":
            body = json.dumps({"volumeAttachment": {"volumeId": volume}}).encode()
        else:
            body = f'<volumeAttachment volumeId="{volume}"/>'.encode()
        return self.request("POST", token, where, body=body, **headers)

    def detach(self, token: str | None, where: str = "here", **headers: str) -> Any:
        """Detach the project's volume."""
        return self.request("DELETE", token, where, self.dialect.volumes[where], **headers)

    def all_four(self, token: str | None, where: str = "here", **headers: str) -> Sequence[Any]:
        """Attach, list, show and detach, whatever comes of it."""
        return [each(token, where, **headers) for each in (self.attach, self.list, self.show, self.detach)]

    def attachment(self, where: str = "here") -> dict[str, Any]:
        """Return what the attachment of the project's volume looks like."""
        dialect, text = self.dialect, str if self.format == "xml" else self.dialect.number
        volume = text(dialect.volumes[where])
        return {"device": dialect.device, "serverId": text(self.servers[where]), "id": volume, "volumeId": volume}

    def read(self, response: Any) -> Any:
        """Return the attachment in a response, or the list of them."""
        assert response.status_int == 200, response.body
        assert response.content_type == f"application/{self.format}"
        if self.format == "json":
            [(name, value)] = json.loads(response.body).items()
        else:
            root = etree.fromstring(response.body)
            name = root.tag
            value = dict(root.attrib) if name == "volumeAttachment" else [dict(child.attrib) for child in root]
        assert name == ("volumeAttachments" if isinstance(value, list) else "volumeAttachment")
        return value

    def fault(self, response: Any) -> tuple[int, str]:
        """Return the status of a fault and its name, which it must have in the requested format."""
        assert response.content_type == f"application/{self.format}", response.body
        if self.format == "json":
            [(name, fault)] = json.loads(response.body).items()
            code, message = fault["code"], fault["message"]
        else:
            root = etree.fromstring(response.body)
            name, code = etree.QName(root).localname, int(root.get("code"))
            message = root.findtext("{*}message")
        assert code == response.status_int
        assert message
        return code, name
