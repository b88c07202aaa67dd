"""Calls of a backend and assertions about it, whose messages are sentences."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from ...backends.base import AttachRefused, Backend, BackendError, Server, Volume
from ..expectations import must_succeed

LOOK_AGAIN_AFTER = 1
"""The seconds after which a server that is not as it must be is looked at again, for the message."""


def must_attach(backend: Backend, server: Server, volume: Volume, device: str | None = None) -> str | None:
    """Attach a volume and return its device; fail if ``attach`` raises."""
    with must_succeed(f"attach of volume {volume.id!r} to server {server.id!r}, with the requested device {device!r},"):
        return backend.attach(server, volume, device)


def must_detach(backend: Backend, server: Server, volume: Volume, device: str | None = None) -> None:
    """Detach a volume; fail if ``detach`` raises, or the server still has the volume when it returns."""
    what = f"detach of volume {volume.id!r} from server {server.id!r}"
    detach_without_look(backend, server, volume, device)
    if volume.id not in must_show(backend, server):
        return
    time.sleep(LOOK_AGAIN_AFTER)
    if volume.id in must_show(backend, server):
        pytest.fail(f"{what} returned, and the server still has it {LOOK_AGAIN_AFTER} second later")
    pytest.fail(f"{what} returned too early: the server had it, and did not have it {LOOK_AGAIN_AFTER} second later")


def detach_without_look(backend: Backend, server: Server, volume: Volume, device: str | None = None) -> None:
    """Detach a volume; fail if ``detach`` raises. For calls that come at once: look when all have ended."""
    with must_succeed(f"detach of volume {volume.id!r} from server {server.id!r}"):
        backend.detach(server, volume, device)


def try_attach(
    backend: Backend,
    server: Server,
    volume: Volume,
    device: str | None = None,
    allowed: tuple[type[BackendError], ...] = (AttachRefused,),
) -> tuple[str | None, Any]:
    """Attach a volume, and return its device and None, or None and the exception; fail if that is not allowed.

    :param allowed: the exceptions that ``attach`` may raise.
    """
    what = f"attach of volume {volume.id!r} to server {server.id!r}, with the requested device {device!r},"
    with must_succeed(what, *allowed) as caught:
        return backend.attach(server, volume, device), None
    return None, caught.error


def try_detach(backend: Backend, server: Server, volume: Volume, device: str | None = None) -> Any:
    """Detach a volume, and return None, or the AttachRefused that ``detach`` raised; fail at another exception."""
    with must_succeed(f"detach of volume {volume.id!r} from server {server.id!r}", AttachRefused) as caught:
        backend.detach(server, volume, device)
    return caught.error


def must_show(backend: Backend, server: Server) -> Mapping[str, str | None]:
    """Return the volumes of a server; fail if ``attached`` raises."""
    with must_succeed(f"attached of server {server.id!r}"):
        return backend.attached(server)


def assert_has(backend: Backend, server: Server, expected: Mapping[str, str | None], when: str = "") -> None:
    """Check which volumes a server has, at which devices.

    :param expected: the devices by volume id.
    :param when: what happened before, for the message.
    """
    seen = dict(must_show(backend, server))
    if seen == expected:
        return
    time.sleep(LOOK_AGAIN_AFTER)
    is_late = must_show(backend, server) == expected
    late = f"; {LOOK_AGAIN_AFTER} second later it is as it must be: a call returned too early" if is_late else ""
    assert seen == expected, f"{_difference(seen, expected)} {when}".rstrip() + late


def _difference(seen: Mapping[str, str | None], expected: Mapping[str, str | None]) -> str:
    wrong = [f"the server has the volume {each!r}, which it must not have" for each in seen.keys() - expected.keys()]
    wrong += [f"the server does not have the volume {each!r}" for each in expected.keys() - seen.keys()]
    wrong += [
        f"attached reports the device {seen[each]!r} of volume {each!r}, and attach returned {expected[each]!r}"
        for each in seen.keys() & expected.keys()
        if seen[each] != expected[each]
    ]
    return "; ".join(sorted(wrong))
