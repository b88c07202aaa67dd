"""The log: one line for each attach and detach that a caller requested."""

import logging

from ..errors import kind_of
from .base import Observer, Operation

LOG = logging.getLogger(__name__)


class OperationLog(Observer):
    """Logs the outcome of each caller's operation.

    The reason of a failure is in the line that ``api.resource`` logs for the request. Reconcile, and operations
    that take over a row, log their own actions.
    """

    def finished(self, operation: Operation) -> None:
        if operation.caller is None:
            return
        LOG.info(
            "%s %s: volume %s, server %s, project %s, device %r, %d ms: %s",
            operation.request_id,
            operation.action,
            operation.volume_id,
            operation.server_id,
            operation.project_id,
            operation.device,
            operation.seconds * 1000,
            "done" if operation.error is None else kind_of(operation.error).value,
        )
