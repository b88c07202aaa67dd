"""How much is done: an ordinary run does enough to be believed, ``make torture`` many times that."""

import os

import pytest

TIMES = int(os.environ.get("TORTURE", "1"))


@pytest.fixture(scope="session")
def times() -> int:
    """Give how many times as much is to be done as in an ordinary run."""
    return TIMES
