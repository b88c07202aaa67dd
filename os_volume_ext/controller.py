"""The four operations, in HTTP's words. What they do is the manager's business."""

from typing import Any, NamedTuple

from . import bodies, queries
from .compute import ServerMissing
from .context import RequestContext
from .dialects import Dialect
from .manager import AttachmentManager
from .reservations import AttachmentMissing
from .serializers import Serializer


class Call(NamedTuple):
    """One request, as far as it has come: ids are as the path has them."""

    context: RequestContext
    server_id: str
    attachment_id: str
    query: list[tuple[str, str]]
    body: Any
    serializer: Serializer


class Controller:
    """Each method is named as Nova names the operation's policy rule, and returns a status and a body."""

    def __init__(self, manager: AttachmentManager, dialect: Dialect, statuses: tuple[int, int], max_limit: int) -> None:
        """Take the manager and what the answers depend on.

        :param statuses: of an attach and of a detach that succeeded.
        :param max_limit: how many attachments a list has at most.
        """
        self._manager = manager
        self._dialect = dialect
        self._attached, self._detached = statuses
        self._max_limit = max_limit

    def index(self, call: Call) -> tuple[int, bytes]:
        """List a server's attachments."""
        page = queries.page(call.query, self._max_limit)
        rows = self._manager.list(call.context, self._server_id(call), page.since, page.limit, page.offset)
        return 200, call.serializer.attachments(map(self._dialect.show, rows))

    def show(self, call: Call) -> tuple[int, bytes]:
        """Show one attachment."""
        row = self._manager.get(call.context, self._server_id(call), self._volume_id(call))
        return 200, call.serializer.attachment(self._dialect.show(row))

    def create(self, call: Call) -> tuple[int, bytes]:
        """Attach a volume."""
        volume_id, device = bodies.attach_request(call.body, self._dialect)
        row = self._manager.attach(call.context, self._server_id(call), volume_id, device)
        return self._attached, call.serializer.attachment(self._dialect.show(row))

    def delete(self, call: Call) -> tuple[int, bytes]:
        """Detach a volume."""
        self._manager.detach(call.context, self._server_id(call), self._volume_id(call))
        return self._detached, b""

    def _server_id(self, call: Call) -> str:
        server_id = self._dialect.read_id(call.server_id)
        if server_id is None:
            raise ServerMissing(call.server_id)
        return server_id

    def _volume_id(self, call: Call) -> str:
        volume_id = self._dialect.read_id(call.attachment_id)
        if volume_id is None:
            raise AttachmentMissing(call.server_id, call.attachment_id)
        return volume_id
