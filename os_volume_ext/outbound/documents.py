"""JSON documents that other services respond with."""

import json
from typing import Any

MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a document of any other structure raises."""

_MAX_REASON = 500  # characters


def read_fault(body: bytes) -> tuple[str | None, str]:
    """Return the name and the message of OpenStack's fault in a response; None and "" if it is something else."""
    try:
        document: Any = json.loads(body)
        [(name, fault)] = document.items()
        return str(name), str(fault["message"])[:_MAX_REASON]
    except MALFORMED:
        return None, ""
