"""The checks of a request: what policy allows, what is supported, and whether the server takes disks."""

from collections.abc import Sequence
from typing import Any

from ..catalog.base import VolumeCatalog
from ..context import RequestContext
from ..errors import Conflict, Forbidden, MultiattachUnsupported, ServerMissing, Unsupported
from ..models import PROJECT_AT, AttachRequest, Constraints, Server, Volume
from ..registry.compiled import Row


def authorize(
    context: RequestContext, action: str, server_id: str, project_id: str | None, user_id: str | None
) -> None:
    """Check that policy allows the caller an action on a server.

    :param project_id: the server's project.
    :param user_id: the server's user; None if it is unknown.
    :raises Forbidden: if not, and the server belongs to the caller's project.
    :raises ServerMissing: if not, and it belongs to another one.
    """
    if context.can(action, project_id, user_id):
        return
    context.log_denied(action)
    raise Forbidden if project_id == context.project_id else ServerMissing(server_id)


def authorize_by_rows(
    context: RequestContext, action: str, server_id: str, rows: Sequence[Row], project_id: str | None = None
) -> Sequence[Row]:
    """Check the policy where the compute API did not show the server, and return the rows that the caller may see.

    :param rows: of the server, which have its project, and that of an earlier server with its id. If there are none,
        there is nothing to be seen of the server.
    :param project_id: the project of all rows, which they then lack; None: each has its own.
    :raises Forbidden: as ``authorize`` does.
    :raises ServerMissing: as ``authorize`` does.
    """
    seen = [row for row in rows if context.can(action, row[PROJECT_AT] if project_id is None else project_id)]
    if not seen:
        first = rows[0][PROJECT_AT] if rows and project_id is None else context.project_id
        authorize(context, action, server_id, first, None)
    return seen


def listed_project(context: RequestContext, server: Server | None) -> str | None:
    """Return the project whose rows are listed; None for all: the caller may see those of every project.

    :param server: None if its project is not known.
    """
    if server is not None:
        return server.project_id
    return None if context.can("index", None) else context.project_id


def belongs_to(row: Any, server: Server | None) -> bool:
    """Return whether a row is of a server, not of an earlier one with its id (docs/protocol.rst, R26).

    :param server: None if it is not known.
    """
    return server is None or row.project_id == server.project_id


def check_deletes(catalog: VolumeCatalog) -> None:
    """Check that the catalog can delete a volume with its server.

    :raises Unsupported: if not.
    """
    if not catalog.can_delete:
        raise Unsupported("delete_on_termination is not supported: the volume catalog can't delete volumes.")


def check_supported(constraints: Constraints, catalog: VolumeCatalog, volume: Volume, request: AttachRequest) -> None:
    """Check that a volume may be attached, and deleted later if the request asks for that.

    :raises Unsupported: if the constraints exclude the volume, or the catalog could not delete it.
    """
    if volume.multiattach and not constraints.multiattach:
        raise MultiattachUnsupported(f"Volume {volume.id} may be attached to several servers.")
    if request.delete_on_termination:
        check_deletes(catalog)


def check_takes_disks(context: RequestContext, constraints: Constraints, server: Server, action: str) -> None:
    """Check that a server takes and gives up disks now.

    :param action: what the caller would do to the server, for the message.
    :raises Conflict: if not; retryable if that passes by itself.
    """
    if server.locked and not context.is_admin:
        raise Conflict(f"Cannot {action} server {server.id} while it is locked.")
    hindrance = server.hindrance(constraints.server_states)
    if hindrance is not None:
        raise Conflict(
            f"Cannot {action} server {server.id} while it {hindrance}.",
            retryable=server.status in constraints.transient_states or server.task_state is not None,
        )


def no_machine(server: Server, volume: Volume, request: AttachRequest) -> Exception:
    """Return the exception for an attach to a server that has no machine: Nova's where Nova refuses it too."""
    if request.tag:
        return Unsupported("Tagged volume attachment is not supported for shelved-offloaded instances.")
    if volume.multiattach:
        return Unsupported("Attaching multiattach volumes is not supported for shelved-offloaded instances.")
    return Conflict(f"Cannot attach a volume to server {server.id}: it has no machine until it is unshelved.")
