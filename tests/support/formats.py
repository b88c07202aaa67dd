"""JSON and XML, as a client writes and reads them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

NAMESPACE = "http://docs.openstack.org/compute/api/v1.1"
ATTRIBUTES = ["device", "serverId", "id", "volumeId", "tag", "delete_on_termination", "attachment_id", "bdm_uuid"]


@dataclass(frozen=True)
class Fault:
    """A fault, as read from a response; ``details`` is None if it has none."""

    name: str
    code: int
    message: str
    details: str | None


class JSON:
    """Writes requests and reads responses in JSON; reading is strict."""

    name = "json"
    media_type = "application/json"

    def request(self, volume: Any, **more: Any) -> bytes:
        """Write a request to attach."""
        return json.dumps({"volumeAttachment": {"volumeId": volume, **more}}).encode()

    def shown(self, attachment: Mapping[str, Any]) -> dict[str, Any]:
        """Return an attachment's values as this format has them."""
        return dict(attachment)

    def attachment(self, body: bytes) -> dict[str, Any]:
        """Read one attachment."""
        document = json.loads(body)
        assert list(document) == ["volumeAttachment"]
        return document["volumeAttachment"]

    def attachments(self, body: bytes) -> list[dict[str, Any]]:
        """Read a list of attachments."""
        document = json.loads(body)
        assert list(document) == ["volumeAttachments"]
        return document["volumeAttachments"]

    def fault(self, body: bytes) -> Fault:
        """Read a fault."""
        ((name, fault),) = json.loads(body).items()
        assert set(fault) - {"details"} == {"code", "message"}
        return Fault(name, fault["code"], fault["message"], fault.get("details"))


class XML:
    """The same in XML."""

    name = "xml"
    media_type = "application/xml"

    def request(self, volume: Any, **more: Any) -> bytes:
        """Write a request to attach."""
        return etree.tostring(etree.Element("volumeAttachment", {"volumeId": str(volume), **more}))

    def shown(self, attachment: Mapping[str, Any]) -> dict[str, Any]:
        """Return an attachment's values as this format has them."""
        words = {True: "true", False: "false"}
        return {name: words.get(value, str(value)) for name, value in attachment.items() if value is not None}

    def attachment(self, body: bytes) -> dict[str, Any]:
        """Read one attachment."""
        return self._attributes(etree.fromstring(body))

    def attachments(self, body: bytes) -> list[dict[str, Any]]:
        """Read a list of attachments."""
        root = etree.fromstring(body)
        assert (root.tag, dict(root.attrib), root.text) == ("volumeAttachments", {}, None)
        return [self._attributes(child) for child in root]

    def fault(self, body: bytes) -> Fault:
        """Read a fault."""
        root = etree.fromstring(body)
        assert root.nsmap == {None: NAMESPACE}
        assert list(root.attrib) == ["code"]
        members = {etree.QName(child).localname: child.text or "" for child in root}
        assert set(members) - {"details"} == {"message"}
        return Fault(etree.QName(root).localname, int(root.get("code")), members["message"], members.get("details"))

    def _attributes(self, element: etree._Element) -> dict[str, Any]:
        assert (element.tag, element.nsmap, element.text, len(element)) == ("volumeAttachment", {}, None, 0)
        assert list(element.attrib) == [name for name in ATTRIBUTES if name in element.attrib]
        return dict(element.attrib)


FORMATS = {"json": JSON(), "xml": XML()}
