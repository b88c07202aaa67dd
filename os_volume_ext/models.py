"""The values that the packages exchange: servers, volumes, attachments, and callers' requests."""

import datetime
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, NamedTuple


# A server and a volume have an ``__init__`` of their own, which takes half as long as that of a frozen dataclass: 6
# thousand instructions instead of 13. A show makes one object, an attach with its detach makes five.
@dataclass(frozen=True)
class Server:
    """A virtual machine, as the compute API shows it."""

    id: str
    project_id: str
    status: str
    locked: bool = False
    host: str | None = None
    """Nova's ``OS-EXT-SRV-ATTR:host``; None where the compute API does not show it."""
    instance_name: str | None = None
    """Nova's ``OS-EXT-SRV-ATTR:instance_name``; None where the compute API does not show it."""
    user_id: str | None = None
    """The user who made it; None where the compute API does not show it."""
    task_state: str | None = None
    """What the compute API is doing with it, such as ``rebuilding``; None if nothing, or if it is not shown."""

    def __init__(
        self,
        id: str,
        project_id: str,
        status: str,
        locked: bool = False,
        host: str | None = None,
        instance_name: str | None = None,
        user_id: str | None = None,
        task_state: str | None = None,
    ) -> None:
        values = self.__dict__
        values["id"], values["project_id"], values["status"], values["locked"] = id, project_id, status, locked
        values["host"], values["instance_name"] = host, instance_name
        values["user_id"], values["task_state"] = user_id, task_state

    @property
    def is_deleted(self) -> bool:
        """Whether the compute API still shows it, though it is deleted."""
        return self.status == "DELETED"

    def hindrance(self, server_states: frozenset[str]) -> str | None:
        """Return why disks can't be attached and detached now, such as "is in status BUILD"; None if they can.

        :param server_states: the statuses in which they can.
        """
        reasons = [] if self.status in server_states else [f"is in status {self.status}"]
        if self.task_state is not None:
            reasons.append(f"has the pending task {self.task_state}")
        return " and ".join(reasons) or None


@dataclass(frozen=True)
class Volume:
    """A disk that can be attached."""

    id: str
    project_id: str
    source: str | None = None
    """Where its data is, in the backend's terms (a path, ``rbd:pool/image``); None where the catalog does not know."""
    format: str | None = None
    """Such as ``raw`` or ``qcow2``; None where the catalog does not know."""
    multiattach: bool = False
    """Whether it may be attached to several servers at once."""
    size: int | None = field(default=None, compare=False)
    """Its bytes, 1 or more; None where the catalog does not know. Not compared: an extended volume is the same one."""
    connection: Mapping[str, object] | None = field(default=None, repr=False, compare=False)
    """Cinder's ``connection_info``, added by a backend that wraps another one; may contain secrets. None elsewhere."""

    def __init__(
        self,
        id: str,
        project_id: str,
        source: str | None = None,
        format: str | None = None,
        multiattach: bool = False,
        size: int | None = None,
        connection: Mapping[str, object] | None = None,
    ) -> None:
        values = self.__dict__
        values["id"], values["project_id"], values["source"], values["format"] = id, project_id, source, format
        values["multiattach"], values["size"], values["connection"] = multiattach, size, connection


def is_size(value: object) -> bool:
    """Return whether a value is the size of a volume or of a disk: None, or an integer of 1 or more."""
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


STATES = ATTACHING, ATTACHED, REATTACHING, DETACHING = "attaching", "attached", "reattaching", "detaching"
"""The states of a row. Callers see the attachment in all of them but ``attaching``."""


def new_id() -> str:
    """Return a new UUID (version 4) with 120 random bits, in a third of the time that the module ``uuid`` takes."""
    digits = os.urandom(15).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-a{digits[15:18]}-{digits[18:]}"


# Not frozen, which for so many fields takes 2.7 microseconds to make: seven times as long. An attach and a detach make
# three. Only the method that makes one changes it.
@dataclass(slots=True)
class Attachment:
    """One row of the registry, as it was when it was read. ``registry.tables`` derives columns from these fields."""

    volume_id: str
    server_id: str
    project_id: str
    """The project of the server, and so of the volume."""
    exclusive: bool
    """Whether the volume may be attached to one server only."""
    device: str | None
    """Such as ``/dev/vdb``: while ``attaching`` what the caller requested, then what the backend reported."""
    root: bool
    """Whether the server boots from the volume, so that it can't be detached."""
    state: str
    """One of ``STATES``."""
    request_id: str
    """The request that changed the row last."""
    host: str | None
    """The server's, when the volume was attached."""
    instance_name: str | None
    """The server's, when the volume was attached."""
    source: str | None
    """The volume's, when it was attached."""
    format: str | None
    """The volume's, when it was attached."""
    tag: str | None = None
    """The caller's label (from microversion 2.49)."""
    delete_on_termination: bool = False
    """Whether the volume is to be deleted when its server is deleted."""
    id: str = field(default_factory=new_id)
    """The attachment's own UUID (``attachment_id`` from microversion 2.89)."""
    claim_id: str = field(default_factory=new_id)
    """A UUID, made anew by each claim; together with ``state`` it identifies the claim."""
    created_at: datetime.datetime | None = None
    """None until the row has been read from the database."""
    updated_at: datetime.datetime | None = None
    """When the row was claimed or confirmed last; None until it has been read from the database."""
    age: float = 0.0
    """Seconds from ``updated_at`` until the row was read, by the database's clock; negative if it was set back."""

    @property
    def is_attached(self) -> bool:
        """Whether callers have seen the volume as attached; while reattached, the disk may be missing."""
        return self.state in (ATTACHED, REATTACHING)

    @property
    def exclusive_volume_id(self) -> str | None:
        """The volume's id if no other row may have it."""
        return self.volume_id if self.exclusive else None

    @property
    def server(self) -> Server:
        """The server as it was when the volume was attached, for when the compute API no longer has it."""
        return Server(self.server_id, self.project_id, "UNKNOWN", False, self.host, self.instance_name)

    def claimed(self, state: str, request_id: str, *, delete_on_termination: bool | None = None) -> "Attachment":
        """Return the row as a new claim writes it.

        :param state: one of ``STATES``.
        :param request_id: the request that makes the claim.
        :param delete_on_termination: None leaves it.
        """
        claimed = Attachment(*values_of(self))  # dataclasses.replace takes four times as long
        claimed.state, claimed.request_id, claimed.claim_id, claimed.age = state, request_id, new_id(), 0.0
        if delete_on_termination is not None:
            claimed.delete_on_termination = delete_on_termination
        return claimed

    def with_host(self, server: Server) -> Server:
        """Return a server that has no machine now with the host that it had when the volume was attached."""
        return replace(server, host=server.host or self.host, instance_name=server.instance_name or self.instance_name)

    @property
    def volume(self) -> Volume:
        """The volume as it was when it was attached; a detach needs no catalog."""
        return Volume(self.volume_id, self.project_id, self.source, self.format, not self.exclusive)


values_of: Callable[[Attachment], tuple[Any, ...]] = attrgetter(*[each.name for each in fields(Attachment)])
"""Returns the values of an attachment's fields, in order."""


class AttachmentSummary(NamedTuple):
    """The columns that most lists show."""

    volume_id: str
    server_id: str
    device: str | None
    project_id: str | None = None
    """None in a list of one project: reading it makes a long list a sixteenth slower."""


class AttachmentDetail(NamedTuple):
    """The columns that lists show from microversion 2.70; reading them makes a long list an eighth slower."""

    volume_id: str
    server_id: str
    device: str | None
    tag: str | None
    delete_on_termination: bool
    id: str
    project_id: str | None = None


PROJECT_AT = -1
"""The place of the project in a row of either projection, if it was read."""

Projection = type[AttachmentSummary] | type[AttachmentDetail]
"""Which columns of a row are read."""


class AttachRequest(NamedTuple):
    """A request to attach a volume."""

    volume_id: str
    device: str | None = None
    """Such as ``/dev/vdb``; None leaves the choice to the backend."""
    tag: str | None = None
    delete_on_termination: bool = False


@dataclass(frozen=True, slots=True)
class Constraints:
    """Which volumes may be attached, and to which servers."""

    server_states: frozenset[str]
    """The statuses in which disks can be attached to and detached from servers."""
    transient_states: frozenset[str]
    """The statuses that end by themselves."""
    multiattach: bool
    """Whether volumes that may be attached to several servers may be attached."""
    offloaded_states: frozenset[str] = frozenset()
    """The statuses of servers that have no machine at the moment."""
