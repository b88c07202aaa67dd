"""What a test does without a service that it needs."""

import os

import pytest


def require_service(available: object, reason: str, **options: bool) -> None:
    """Skip the test unless a service is available; fail in CI, where every service has to be.

    :param available: whether it is, by its truth value.
    :param reason: what is missing, in words.
    :param options: of ``pytest.skip``.
    """
    if available:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason, **options)
