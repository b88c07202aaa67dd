"""Failpoints: named steps of attach, detach and reconcile, at which a test can inject an action.

There is nothing of this in the code itself, so it costs nothing there. A test that runs the protocol over a scripted
backend names its steps here; a process that is to be killed is wrapped at all of its seams: each question to and
change of registry, backend, catalog and the compute API at ``compute.url``, each statement and COMMIT, the directory
backend's own system calls, and the response. New code at one of these seams is a step automatically.
"""

import functools
import inspect
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from os_volume_ext.backends.directory import DirectoryBackend, backend, directories, disks
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.compute.remote import RemoteComputeAPI
from os_volume_ext.registry import execution
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.wsgi import WSGIApp

Reached = Callable[[str], None]

SEAMS = {
    Registry: "",
    DirectoryBackend: "backend ",
    SQLCatalog: "catalog ",
    RemoteComputeAPI: "compute ",
}
SYSTEM_CALLS = ("symlink", "unlink", "fsync")


@contextmanager
def step(reached: Reached, name: str) -> Iterator[None]:
    """Call ``reached`` with ``before NAME`` and, unless what is done meanwhile raises, with ``after NAME``."""
    reached(f"before {name}")
    yield
    reached(f"after {name}")


class Failpoints:
    """Records the steps of this process while it is watched, and kills it at one.

    A step that is reached again has a number: ``before fsync``, ``before fsync 2``.
    """

    def __init__(self) -> None:
        self._die_at: str | None = None
        self._events: dict[str, Callable[[], None]] = {}
        self._times: Counter[str] = Counter()
        self.seen: list[str] = []

    def watch(self, die_at: str, events: Mapping[str, Callable[[], None]] | None = None) -> None:
        """Start to record steps.

        :param die_at: the step at which to die, "" for none.
        :param events: what happens at which steps; their own steps are not recorded.
        """
        self._times.clear()
        self.seen.clear()
        self._die_at = die_at
        self._events = dict(events or {})

    def reached(self, step: str) -> None:
        if self._die_at is None:
            return
        self._times[step] += 1
        point = step if self._times[step] == 1 else f"{step} {self._times[step]}"
        self.seen.append(point)
        if point == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if point in self._events:
            die_at, self._die_at = self._die_at, None
            self._events.pop(point)()
            self._die_at = die_at

    def write(self, path: Path, **more: Any) -> None:
        """Write the steps seen, and more values; the file appears when it is complete."""
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps({"steps": self.seen, **more}))
        partial.rename(path)


def install(reached: Reached) -> None:
    """Call ``reached`` at every step but the response, in this process and those forked from it."""
    for owner, prefix in SEAMS.items():
        for name, method in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_"):
                setattr(owner, name, _stepping(method, prefix + name, reached))
    calls = {name: _stepping(getattr(os, name), name, reached) for name in SYSTEM_CALLS}
    for module in (backend, directories, disks):
        module.os = SimpleNamespace(**{**vars(os), **calls})  # type: ignore[attr-defined]

    execute = execution.execute

    def stepping(cursor: Any, text: str, values: Sequence[Any] = ()) -> None:
        with step(reached, text.split()[0]):
            execute(cursor, text, values)

    execution.execute = stepping


def with_response_steps(app: WSGIApp, reached: Reached) -> WSGIApp:
    """Make steps of the response too: before it starts, and after the server has all of it."""

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        def start(*arguments: Any) -> Any:
            reached("before response")
            return start_response(*arguments)

        yield from app(environ, start)
        reached("after response")

    return respond


def _stepping(function: Callable[..., Any], name: str, reached: Reached) -> Callable[..., Any]:
    @functools.wraps(function)
    def stepping(*arguments: Any, **named: Any) -> Any:
        with step(reached, name):
            return function(*arguments, **named)

    return stepping
