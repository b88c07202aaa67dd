"""What reconcile found at a row or at a disk, and what became of it."""

import logging
from dataclasses import dataclass
from enum import StrEnum

LOG = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of a row, or of a disk without one."""

    CONSISTENT = "consistent"
    REPAIRED = "repaired"
    NEEDS_REPAIR = "needs repair"
    """Of a dry run."""
    UNRESOLVED = "unresolved"
    """Somebody has to look at it, or it is tried again by the next run."""


Result = tuple[Outcome, str]
"""An outcome and its details."""

MODIFIED: Result = (Outcome.CONSISTENT, "modified concurrently")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found at one row, or at an unmanaged disk, and what was done about it."""

    server_id: str
    """Empty if it is about no server in particular."""
    volume_id: str
    """Empty if it is about no volume in particular."""
    state: str
    """The row's state when it was read; empty where there is no row."""
    outcome: Outcome
    detail: str

    def log(self) -> None:
        """Log everything but consistent rows."""
        if self.outcome is not Outcome.CONSISTENT:
            level = logging.WARNING if self.outcome is Outcome.UNRESOLVED else logging.INFO
            LOG.log(level, "volume %s, server %s: %s: %s", self.volume_id, self.server_id, self.outcome, self.detail)
