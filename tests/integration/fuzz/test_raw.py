"""Hostile bytes: the sample bears them, and what tells so would tell if it did not."""

from collections.abc import Callable

import pytest
from hypothesis import Phase

from tests.integration.fuzz import raw
from tests.integration.fuzz.served import SECONDS, SEED, Sample


def test_hostile_requests_are_answered_as_the_api_says_and_leave_nothing_behind(fuzzed: Sample) -> None:
    raw.fuzz(fuzzed, SECONDS / 2, SEED)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("fail", "500"),
        ("talk", "Additional properties are not allowed"),
        ("leak", "more memory"),
        ("log", "Traceback"),
    ],
)
def test_a_sample_that_does_not_bear_them_is_told(serve: Callable[..., Sample], how: str, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        raw.fuzz(serve(how), 0, 1, (Phase.generate,))
