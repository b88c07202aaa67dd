"""Metrics for Prometheus, in the default registry of ``prometheus_client`` (extra ``[metrics]``)."""

from itertools import product

from prometheus_client import Counter, Gauge, Histogram

from ..errors import Kind, OutcomeUnknown, kind_of
from .base import ATTACH, DETACH, Observer, Operation

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""In seconds: from one or two commits to more than the default ``operation_timeout``."""

DONE, FAILED, UNKNOWN = "done", "failed", "unknown"

# One for each process, as the default registry is.
OPERATIONS = Counter("os_volume_ext_operations", "Attaches and detaches that have finished.", ["action", "outcome"])
OPERATION_SECONDS = Histogram(
    "os_volume_ext_operation_seconds", "Duration of the operations that were started.", ["action"], buckets=BUCKETS
)
BACKEND_CALL_SECONDS = Histogram(
    "os_volume_ext_backend_call_seconds", "Duration of backend calls.", ["method", "outcome"], buckets=BUCKETS
)
OVERLOADS = Counter("os_volume_ext_overloads", "Operations that found no free slot.")
TIMEOUTS = Counter("os_volume_ext_timeouts", "Calls that ran into operation_timeout.")
# For each process, because it is one process that has to be restarted.
CALLS_WITHOUT_SLOT = Gauge(
    "os_volume_ext_calls_without_slot", "Calls that are running without a slot.", multiprocess_mode="liveall"
)


class Metrics(Observer):
    """Counts operations and measures their duration."""

    def __init__(self) -> None:
        """Show what alerts are about before it happens: of a counter that begins with 1, no increase is seen."""
        for action, kind in product((ATTACH, DETACH), (Kind.INTERNAL, Kind.UNAVAILABLE)):
            OPERATIONS.labels(action, kind.value)
        for method, outcome in product((ATTACH, DETACH, "attached"), (DONE, FAILED, UNKNOWN)):
            BACKEND_CALL_SECONDS.labels(method, outcome)

    def finished(self, operation: Operation) -> None:
        outcome = DONE if operation.error is None else kind_of(operation.error).value
        OPERATIONS.labels(operation.action, outcome).inc()
        if operation.started:
            OPERATION_SECONDS.labels(operation.action).observe(operation.seconds)

    def backend_called(self, method: str, seconds: float, error: BaseException | None) -> None:
        failed = UNKNOWN if isinstance(error, OutcomeUnknown) else FAILED
        BACKEND_CALL_SECONDS.labels(method, DONE if error is None else failed).observe(seconds)

    def overloaded(self) -> None:
        OVERLOADS.inc()

    def timed_out(self) -> None:
        TIMEOUTS.inc()

    def without_slot(self, change: int) -> None:
        CALLS_WITHOUT_SLOT.inc(change)
