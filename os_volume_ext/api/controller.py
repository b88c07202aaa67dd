"""The operations, in HTTP's words. What they do is the manager's business."""

from typing import Any, NamedTuple

from ..attachments.manager import AttachmentManager
from ..context import RequestContext
from ..errors import AttachmentMissing, Kind, ServerMissing
from . import bodies, queries
from .dialects import Dialect
from .faults import Fault
from .serializers import Serializer


class Call(NamedTuple):
    """One request, as far as it has come: ids are as the path has them."""

    context: RequestContext
    dialect: Dialect
    server_id: str
    volume_id: str
    query: list[tuple[str, str]]
    body: Any
    serializer: Serializer


def authorize(context: RequestContext, *actions: str) -> None:
    """See that policy allows one of some actions.

    By the caller's own project, before anything dear is done; by the server's, when it is known.

    :raises Fault: ``forbidden``.
    """
    if not any(context.can(action, context.project_id) for action in actions):
        raise Fault(Kind.FORBIDDEN, "Policy does not allow this operation.")


class Controller:
    """Each method is named as Nova names the operation's policy rule, and returns a status and a body."""

    def __init__(self, *, manager: AttachmentManager, max_limit: int) -> None:
        """Take the manager. :param max_limit: how many attachments a list has at most."""
        self._manager = manager
        self._max_limit = max_limit

    def index(self, call: Call) -> tuple[int, bytes]:
        """List a server's attachments."""
        page = queries.page(call.query, self._max_limit)
        dialect, server_id = call.dialect, _server_id(call)
        rows = self._manager.list_attachments(
            call.context,
            server_id,
            since=page.since,
            limit=page.limit,
            offset=page.offset,
            projection=dialect.projection,
        )
        return 200, call.serializer.attachments(map(dialect.show, rows))

    def show(self, call: Call) -> tuple[int, bytes]:
        """Show one attachment."""
        row = self._manager.get(call.context, _server_id(call), _volume_id(call), call.dialect.projection)
        return 200, call.serializer.attachment(call.dialect.show(row))

    def create(self, call: Call) -> tuple[int, bytes]:
        """Attach a volume."""
        dialect = call.dialect
        wanted = bodies.attach_request(call.body, dialect)
        row = self._manager.attach(call.context, dialect.constraints, _server_id(call), wanted)
        body = call.serializer.attachment(dialect.show_attached(row)) if dialect.show_attached else b""
        return dialect.attach_status, body

    def update(self, call: Call) -> tuple[int, bytes]:
        """Change what is said of an attachment; with another volume, ``swap``."""
        wanted_id, members = bodies.update_request(call.body, call.dialect, "update")
        server_id, volume_id = _server_id(call), _volume_id(call)
        if wanted_id != volume_id:
            authorize(call.context, "swap")
            self._manager.swap(call.context, server_id, volume_id)
        authorize(call.context, "update")
        row = self._manager.find_for_update(call.context, server_id, volume_id)
        bodies.check_unchanged(members, row)
        if "delete_on_termination" in members:
            self._manager.set_delete_on_termination(call.context, row, members["delete_on_termination"])
        return 202, b""

    def swap(self, call: Call) -> tuple[int, bytes]:
        """Put another volume in an attachment's place."""
        bodies.update_request(call.body, call.dialect, "swap")
        self._manager.swap(call.context, _server_id(call), _volume_id(call))

    def delete(self, call: Call) -> tuple[int, bytes]:
        """Detach a volume."""
        self._manager.detach(call.context, call.dialect.constraints, _server_id(call), _volume_id(call))
        return call.dialect.detach_status, b""


def _server_id(call: Call) -> str:
    server_id = call.dialect.read_id(call.server_id)
    if server_id is None:
        raise ServerMissing(call.server_id)
    return server_id


def _volume_id(call: Call) -> str:
    volume_id = call.dialect.read_id(call.volume_id)
    if volume_id is None:
        raise AttachmentMissing(call.server_id, call.volume_id)
    return volume_id
