"""Cinder's attachments of servers, each a reservation that becomes a connection and then complete.

``POST /attachments`` reserves a volume for a server, ``PUT`` connects it to a host, ``os-complete`` makes it in-use.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...errors import RequestFailed, RequestRefused
from ...models import Server, Volume
from ...outbound.cinder import Cinder, Deadline, is_missing
from ...outbound.documents import MALFORMED

ATTACHED, RESERVED = "attached", "reserved"


@dataclass(frozen=True)
class CinderAttachment:
    """One of Cinder's attachments, as it was when it was listed."""

    id: str
    volume_id: str
    server_id: str | None
    status: str
    """``reserved``, ``attaching``, ``attached``, or one of errors."""

    @property
    def is_attached(self) -> bool:
        """Whether it is complete; one that is ``attaching`` may have an empty connection."""
        return self.status == ATTACHED


class CinderAttachments:
    """Lists and changes attachments; every method raises RequestFailed if Cinder fails, RequestRefused if it refuses.

    The same server may reserve a volume twice, so all attachments of a server and a volume count as one.
    """

    def __init__(self, cinder: Cinder) -> None:
        self._cinder = cinder

    def of_server(self, server: Server, deadline: Deadline) -> Sequence[CinderAttachment]:
        """Return the attachments of a server."""
        found = self._list(f"instance_id={server.id}", deadline)
        return [each for each in found if each.server_id == server.id]

    def of(self, server: Server, volume: Volume, deadline: Deadline) -> Sequence[CinderAttachment]:
        """Return the attachments of a volume to a server."""
        return [each for each in self.of_volume(volume, deadline) if each.server_id == server.id]

    def of_volume(self, volume: Volume, deadline: Deadline) -> Sequence[CinderAttachment]:
        """Return the attachments of a volume to any server."""
        found = self._list(f"volume_id={volume.id}", deadline)
        return [each for each in found if each.volume_id == volume.id]

    def reserve(self, server: Server, volume: Volume, deadline: Deadline) -> CinderAttachment:
        """Reserve a volume for a server."""
        values = {"volume_uuid": volume.id, "instance_uuid": server.id}
        document = self._cinder.request("POST", "/attachments", deadline, document={"attachment": values})
        with _valid():
            found = _read(document["attachment"])
            if (found.server_id, found.volume_id) != (server.id, volume.id):
                raise ValueError("it is an attachment of another server or volume")
        return found

    def connect(
        self, attachment: CinderAttachment, connector: Mapping[str, Any], deadline: Deadline
    ) -> Mapping[str, object]:
        """Connect the volume to a host, again if it is connected, and return ``connection_info``; may be empty."""
        document = {"attachment": {"connector": dict(connector)}}
        response = self._cinder.request("PUT", f"/attachments/{attachment.id}", deadline, document=document)
        with _valid():
            found = response["attachment"]
            info = found["connection_info"] or {}
            # Beside it, since a read-only attachment may have the access_mode "rw". "null" is Cinder's word for none.
            has_mode = info and found.get("attach_mode") not in (None, "null")
            mode = {"attach_mode": found["attach_mode"]} if has_mode else {}
            return mode | {str(name): info[name] for name in info}

    def complete(self, attachment: CinderAttachment, deadline: Deadline) -> None:
        """Make the volume in-use."""
        path = f"/attachments/{attachment.id}/action"
        self._cinder.request("POST", path, deadline, document={"os-complete": {}})

    def delete(self, attachment: CinderAttachment, deadline: Deadline) -> None:
        """Delete an attachment, in whatever state; do nothing if there is none."""
        try:
            self._cinder.request("DELETE", f"/attachments/{attachment.id}", deadline)
        except RequestRefused as error:
            if not is_missing(error):
                raise

    def encryption(self, volume: Volume, deadline: Deadline) -> tuple[str, str]:
        """Return how a volume is encrypted, such as ``luks``, and the id of its key; empty where Cinder has none."""
        document = self._cinder.request("GET", f"/volumes/{volume.id}/encryption", deadline)
        with _valid():
            at_host = document.get("control_location") == "front-end"
            found = document["provider"] if at_host else "", document["encryption_key_id"]
            if not all(isinstance(each, str | None) for each in found):
                raise TypeError("the provider and the id of a key must be strings")
            return found[0] or "", found[1] or ""

    def volume_status(self, volume: Volume, deadline: Deadline) -> str:
        """Return the status of a volume, such as ``in-use``."""
        document = self._cinder.request("GET", f"/volumes/{volume.id}", deadline)
        with _valid():
            return str(document["volume"]["status"])

    def _list(self, query: str, deadline: Deadline) -> Sequence[CinderAttachment]:
        document = self._cinder.request("GET", f"/attachments?all_tenants=1&{query}", deadline)
        with _valid():
            return [_read(each) for each in document["attachments"]]


def _read(document: Mapping[str, Any]) -> CinderAttachment:
    values = [document[name] for name in ("id", "volume_id", "instance", "status")]
    if not all(isinstance(each, str | None) for each in values):
        raise TypeError("an attachment's values must be strings")
    return CinderAttachment(*values)


@contextmanager
def _valid() -> Iterator[None]:
    try:
        yield
    except MALFORMED as error:
        raise RequestFailed(f"Cinder's response is invalid: {error!r:.300}") from error
