"""The command ``os-volume-ext``, run within this process."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from os_volume_ext.cli.main import main

LOGGERS = (None, "cliff.app", "alembic", "os_volume_ext")


@contextlib.contextmanager
def restoring_loggers() -> Iterator[None]:
    """Restore the loggers that the command configures for a process of its own."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


class Command:
    """Runs the command; called with its arguments, returns the exit status, stdout and stderr."""

    def __init__(self, paste: Path | None, capsys: pytest.CaptureFixture[str]) -> None:
        """:param paste: the paste file unless a call names another."""
        self._paste = paste
        self._capsys = capsys

    def __call__(self, *arguments: str, **options: Path | str | None) -> tuple[int, str, str]:
        paste = options.get("paste", self._paste)
        self._capsys.readouterr()
        try:
            status = main([*arguments, *(["--paste", str(paste)] if paste else [])])
        except SystemExit as error:  # argparse's, or help's
            status = error.code or 0
        return status, *self._capsys.readouterr()


def error_message(run: Callable[..., tuple[int, str, str]], *arguments: str, status: int = 1, **options: str) -> str:
    """Run a command that has to fail, and return its error message, one line on stderr."""
    found, out, err = run(*arguments, **options)
    assert (found, out) == (status, "")
    assert err.startswith("os-volume-ext: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err
