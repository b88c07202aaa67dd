"""The log: one line for each attach and detach that somebody asked for, and how a fault is told there."""

import logging

from ..faults import Kind, from_exception
from .base import Observer, Operation

LOG = logging.getLogger(__name__)


class OperationLog(Observer):
    """Logs how operations ended; reconcile, and who takes over a row, say by themselves what they did."""

    def ended(self, operation: Operation) -> None:
        if operation.caller is None:
            return
        told = (
            operation.request_id,
            operation.action,
            operation.volume_id,
            operation.server_id,
            operation.project_id,
            operation.device,
            operation.seconds * 1000,
        )
        if operation.error is None:
            LOG.info("%s %s: volume %s, server %s, project %s, device %r, %d ms: done", *told)
        else:
            log_fault(LOG, operation.error, "%s %s: volume %s, server %s, project %s, device %r, %d ms", *told)
        operation.caller.logged = True


def log_fault(logger: logging.Logger, error: BaseException, format: str, *arguments: object) -> None:
    """Log what ended in an exception, at the level that its fault deserves.

    :param format, arguments: say what ended so.
    """
    fault = from_exception(error)
    kind = fault.kind.value
    if fault.kind is Kind.INTERNAL:
        logger.error(f"{format}: %s", *arguments, kind, exc_info=error)
    elif fault.kind is Kind.UNAVAILABLE:  # the caller is not told why
        logger.warning(f"{format}: %s: %s: %s", *arguments, kind, type(error).__name__, error)
    else:
        logger.info(f"{format}: %s: %r", *arguments, kind, fault.message)
