"""The sample of ``etc/api-paste.ini``, loaded into this process, and its state."""

import configparser
import contextlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from paste.deploy import loadapp
from webtest import TestApp

from os_volume_ext.registry.database import Database
from tests.support.dialects import DIALECTS
from tests.support.paths import PASTE


@contextlib.contextmanager
def recording_databases() -> Iterator[list[Database]]:
    """Give a list that collects the databases opened meanwhile: tests have to close them, where a process would end."""
    opened: list[Database] = []
    make = Database.__init__

    def remember(database: Database, options: Mapping[str, str]) -> None:
        make(database, options)
        opened.append(database)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Database, "__init__", remember)
        yield opened


def close(databases: list[Database]) -> None:
    """Close what was opened."""
    for database in databases:
        database.dispose()


def load(paste: Path, var: Path) -> TestApp:
    """Load the sample of a paste file. :param var: the directory of its state."""
    return TestApp(loadapp(f"config:{paste}", global_conf={"var": str(var)}))


def write_paste(directory: Path, urls: Mapping[str, str], without: str = "", **options: str) -> Path:
    """Write a copy of the sample's paste file, with these options in the section of each dialect.

    ``{base}`` in a value is the path of the section's dialect.

    :param urls: of the databases, by dialect.
    :param without: a filter to leave out of the pipelines.
    """
    parser = configparser.RawConfigParser()
    parser.read(PASTE)
    for dialect in DIALECTS.values():
        pipeline = f"pipeline:{dialect.name}"
        kept = [name for name in parser.get(pipeline, "pipeline").split() if name != without]
        parser.set(pipeline, "pipeline", " ".join(kept))
        for name, value in ({"database.url": urls[dialect.name].replace("%", "%%")} | options).items():
            parser.set(f"filter:volumes_{dialect.name}", name, value.replace("{base}", dialect.base))
    path = directory / "api-paste.ini"
    with path.open("w") as file:
        parser.write(file)
    return path


@dataclass(frozen=True)
class State:
    """The directory with the sample's state, and the URL of each dialect's database."""

    var: Path
    urls: Mapping[str, str]

    @contextlib.contextmanager
    def copy(self, place: Any, var: Path, names: Collection[str] = tuple(DIALECTS)) -> "Iterator[State]":
        """Give a copy. :param names: dialects whose databases are copied; the others are shared."""
        shutil.copytree(self.var, var, symlinks=True, ignore=shutil.ignore_patterns("*.db*"))
        with contextlib.ExitStack() as stack:
            copies = {name: stack.enter_context(place.copy(self.urls[name], var / f"{name}.db")) for name in names}
            yield State(var, {**self.urls, **copies})
