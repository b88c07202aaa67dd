"""The controller: translate between HTTP and the attachment manager, one method per operation."""

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from ..attachments.manager import AttachmentManager
from ..context import RequestContext
from ..errors import AttachmentMissing, ServerMissing
from . import bodies, queries
from .dialects import Dialect
from .routing import Match
from .serializers import Serializer


class Call(NamedTuple):
    """One request, authorized and parsed."""

    context: RequestContext
    dialect: Dialect
    match: Match
    query: list[tuple[str, str]]
    members: Mapping[str, Any]
    """The members of ``volumeAttachment`` in the body; empty where the body is not read."""
    serializer: Serializer
    """The format of the response."""

    @property
    def server_id(self) -> str:
        """The server's id in the path, in canonical form.

        :raises ServerMissing: if it is no id.
        """
        server_id = self.dialect.read_id(self.match.server_id)
        if server_id is None:
            raise ServerMissing(self.match.server_id)
        return server_id

    @property
    def volume_id(self) -> str:
        """The volume's id in the path, in canonical form.

        :raises AttachmentMissing: if it is no id.
        """
        volume_id = self.dialect.read_id(self.match.volume_id)
        if volume_id is None:
            raise AttachmentMissing(self.match.server_id, self.match.volume_id)
        return volume_id


class Controller:
    """Performs the operations; ``endpoints`` maps requests to methods.

    Each method is named as Nova names the operation's policy rule, and returns a status and a body.
    """

    def __init__(self, *, manager: AttachmentManager, max_limit: int) -> None:
        """Keep what the operations use.

        :param manager: performs the operations.
        :param max_limit: the number of attachments in a list, at most.
        """
        self._manager = manager
        self._max_limit = max_limit

    def index(self, call: Call) -> tuple[int, bytes]:
        """List a server's attachments."""
        page = queries.page(call.query, self._max_limit)
        rows = self._manager.list_attachments(
            call.context,
            call.server_id,
            since=page.since,
            limit=page.limit,
            offset=page.offset,
            projection=call.dialect.projection,
        )
        return 200, call.serializer.attachments(map(call.dialect.show, rows))

    def show(self, call: Call) -> tuple[int, bytes]:
        """Show one attachment."""
        row = self._manager.get(call.context, call.server_id, call.volume_id, call.dialect.projection)
        return 200, call.serializer.attachment(call.dialect.show(row))

    def create(self, call: Call) -> tuple[int, bytes]:
        """Attach a volume."""
        dialect, request = call.dialect, bodies.attach_request(call.members)
        row = self._manager.attach(call.context, dialect.constraints, call.server_id, request)
        body = call.serializer.attachment(dialect.show_attached(row)) if dialect.show_attached else b""
        return dialect.attach_status, body

    def update(self, call: Call) -> tuple[int, bytes]:
        """Change an attachment's properties."""
        row = self._manager.find_for_update(call.context, call.server_id, call.volume_id)
        bodies.check_unchanged(call.members, row)
        if "delete_on_termination" in call.members:
            self._manager.set_delete_on_termination(call.context, row, call.members["delete_on_termination"])
        return 202, b""

    def swap(self, call: Call) -> NoReturn:
        """Replace an attachment's volume, which the manager always refuses."""
        self._manager.swap(call.context, call.server_id, call.volume_id)

    def delete(self, call: Call) -> tuple[int, bytes]:
        """Detach a volume."""
        self._manager.detach(call.context, call.dialect.constraints, call.server_id, call.volume_id)
        return call.dialect.detach_status, b""
