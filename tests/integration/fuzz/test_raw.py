"""Hostile bytes: the sample withstands them, and injected faults show that the checks would notice otherwise."""

from collections.abc import Callable

import pytest
from hypothesis import Phase

from tests.integration.fuzz import raw
from tests.integration.fuzz.served import SECONDS, SEED, Sample


def test_hostile_requests_get_defined_responses_and_leave_nothing_behind(fuzzed: Sample) -> None:
    raw.fuzz(fuzzed, SECONDS / 2, SEED)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("fail", "500"),
        ("add_member", "Additional properties are not allowed"),
        ("leak", "more memory"),
        ("log", "Traceback"),
    ],
)
def test_a_sample_that_does_not_bear_them_is_reported(serve: Callable[..., Sample], how: str, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        raw.fuzz(serve(how), 0, 1, (Phase.generate,))
