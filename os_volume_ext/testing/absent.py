"""The value of a fixture that a plugin has nothing to provide for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Absent:
    """Return it from a fixture that may be absent: the tests that need the fixture are skipped with the reason."""

    reason: str
    """Why there is no such thing, in a few words: pytest's summary shows it."""
