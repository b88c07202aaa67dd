"""The dialects of the sample, as its tests see them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DialectCase:
    """Servers and volumes of the sample in one dialect, and the responses that the dialect specifies.

    ``others_*`` belong to another project, ``unknown_*`` do not exist; both have the same length.
    ``conflict`` and ``in_use`` are the names and the statuses of faults.
    """

    name: str
    base: str
    number: type
    server: str
    other_server: str
    others_server: str
    building: str
    rooted: str
    root_volume: str
    volume: str
    other_volume: str
    others_volume: str
    unknown_server: str
    unknown_volume: str
    malformed: tuple[str, ...]
    spellings: tuple[str, str]
    first_device: str
    detach_status: int
    conflict: tuple[str, int]
    in_use: tuple[str, int]
    bad_method: str
    media_type_fault: tuple[str, int]
    member_methods: str
    details: bool

    def collection(self, server: str | None = None) -> str:
        """Return the path of a server's attachments."""
        return f"{self.base}/servers/{server or self.server}/os-volume_attachments"

    def shown(self, server: str, volume: str, device: str) -> dict[str, Any]:
        """Return what an attachment looks like."""
        return {
            "device": device,
            "serverId": self.number(server),
            "id": self.number(volume),
            "volumeId": self.number(volume),
        }


DIALECTS = {
    "cyclades": DialectCase(
        name="cyclades",
        base="/compute/v2.0",
        number=int,
        server="1134",
        other_server="1135",
        others_server="2001",
        building="1140",
        rooted="1141",
        root_volume="1000",
        volume="9",
        other_volume="99",
        others_volume="200",
        unknown_server="2002",
        unknown_volume="201",
        malformed=("x", "-9", "+9", "9.5", "1" * 19, "9_9", " 9", "٩", "a26887c6-c47b-4654-abb5-dfadf7d3f803"),
        spellings=("01134", "009"),
        first_device="",
        detach_status=200,
        conflict=("badRequest", 400),
        in_use=("badRequest", 400),
        bad_method="notAllowed",
        media_type_fault=("badRequest", 400),
        member_methods="GET, HEAD, DELETE",
        details=True,
    ),
    "openstack": DialectCase(
        name="openstack",
        base="/v2.1",
        number=str,
        server="4335bab6-6086-4247-8274-8b8b048edaaa",
        other_server="20f0cb44-7b00-4019-a612-364777cd2931",
        others_server="9a1f3c52-7d6e-4b0b-9f7a-0c2d5e8f1a34",
        building="5d1f7c1a-0c5e-4c6f-9d5b-5a1d3f0c9b77",
        rooted="7be0e5f4-8c1d-4a53-9a54-2f6d1c0e8b10",
        root_volume="c0ffee00-1111-4222-8333-444444444444",
        volume="a26887c6-c47b-4654-abb5-dfadf7d3f803",
        other_volume="a26887c6-c47b-4654-abb5-dfadf7d3f804",
        others_volume="b7d0e9a4-54c1-4a3e-8a44-6f1f0b9a2c11",
        unknown_server="00000000-0000-4000-8000-000000000000",
        unknown_volume="00000000-0000-4000-8000-000000000001",
        malformed=("x", "9", "a26887c6c47b4654abb5dfadf7d3f803", "{a26887c6-c47b-4654-abb5-dfadf7d3f803}", "a" * 36),
        spellings=("4335BAB6-6086-4247-8274-8B8B048EDAAA", "A26887C6-c47b-4654-ABB5-dfadf7d3f803"),
        first_device="/dev/vdb",
        detach_status=202,
        conflict=("conflictingRequest", 409),
        in_use=("badRequest", 400),
        bad_method="badMethod",
        media_type_fault=("badMediaType", 415),
        member_methods="GET, HEAD, DELETE, PUT",
        details=False,
    ),
}
