"""Fixtures of the functional tests: the sample, its clients, its databases, and the command."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select
from webtest import TestApp

from os_volume_ext.attachments.periodic import PeriodicReconciler
from os_volume_ext.registry import schema
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments
from tests.support import command, databases
from tests.support.client import Client
from tests.support.dialects import DIALECTS, DialectCase
from tests.support.formats import FORMATS
from tests.support.sample import State, closing_apps, load, write_paste


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    """Leave out the combinations in which a test would only repeat itself."""
    config.hook.pytest_deselected(items=[item for item in items if _is_repetition(item)])
    items[:] = [item for item in items if not _is_repetition(item)]


def _is_repetition(item: pytest.Function) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    is_xml = parameters.get("format") == "xml"
    if parameters.get("database_kind", "sqlite") != "sqlite":
        # Neither format nor dialect reach a database; the registry's own tests have both projections.
        return is_xml or parameters.get("dialect") == "cyclades"
    return is_xml and item.get_closest_marker("one_format") is not None


@pytest.fixture(autouse=True)
def _close_apps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # What a test has patched stays so until the end of this fixture.
    with closing_apps():
        yield


@pytest.fixture(scope="session")
def _first_state(database_kind: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """Give what the sample's first start makes of an empty directory and of new databases."""
    directory = tmp_path_factory.mktemp("sample")
    with contextlib.ExitStack() as stack:
        urls = {name: stack.enter_context(database_kind.new(directory / "var" / f"{name}.db")) for name in DIALECTS}
        for url in urls.values():
            schema.upgrade(Database({"url": url}))
        with closing_apps():
            load(write_paste(directory, urls), directory / "var")
        yield State(directory / "var", urls)


@pytest.fixture(scope="session")
def _unchanged_sample(
    database_kind: Any, _first_state: State, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestApp]:
    """Give one sample to all tests that only see requests refused."""
    directory = tmp_path_factory.mktemp("unchanged")
    with _first_state.copy(database_kind, directory / "var") as state, closing_apps():
        yield load(write_paste(directory, state.urls), state.var)


@pytest.fixture
def _state(request: pytest.FixtureRequest, database_kind: Any, tmp_path: Path, _first_state: State) -> Iterator[State]:
    """Give the sample's state, as its first start leaves it: a copy, which is faster."""
    names = [request.getfixturevalue("dialect").name] if "dialect" in request.fixturenames else DIALECTS
    with _first_state.copy(database_kind, tmp_path / "var", names) as state:
        yield state


@pytest.fixture
def var(_state: State) -> Path:
    """Give the directory of the sample's state."""
    return _state.var


@pytest.fixture
def urls(_state: State) -> dict[str, str]:
    """Give the URL of each dialect's database, as ``paste_file`` writes it down; a test may put another there."""
    return dict(_state.urls)


@pytest.fixture
def paste_file(tmp_path: Path, urls: Mapping[str, str]) -> Callable[..., Path]:
    """Give ``paste_file(**options)``: a copy of the sample's paste file with these in both of our sections.

    ``{base}`` in a value is the path of the section's dialect; ``without`` is a filter that the pipelines lack.
    """
    return lambda without="", **options: write_paste(tmp_path, urls, without, **options)


@pytest.fixture
def start(var: Path, paste_file: Callable[..., Path]) -> Callable[..., TestApp]:
    """Give ``start(paste_file)``: the sample's application with its state in ``var``."""
    return lambda paste=None: load(paste or paste_file(), var)


@pytest.fixture
def sample(request: pytest.FixtureRequest, database_kind: Any) -> TestApp:
    """Give the sample with a fresh state; one for all to tests that are marked ``changes_nothing``."""
    if request.node.get_closest_marker("changes_nothing"):
        return request.getfixturevalue("_unchanged_sample")
    return request.getfixturevalue("start")()


@pytest.fixture
def backgrounds(monkeypatch: pytest.MonkeyPatch) -> list[PeriodicReconciler]:
    """Give what reconciles by itself in the applications that the test starts, once it is to start: it has not."""
    found: list[PeriodicReconciler] = []
    monkeypatch.setattr(PeriodicReconciler, "start", lambda background: found.append(background))
    monkeypatch.setattr(PeriodicReconciler, "stop", lambda background: None)
    return found


@pytest.fixture(params=list(DIALECTS))
def dialect(request: pytest.FixtureRequest) -> DialectCase:
    """Give one dialect after the other."""
    return DIALECTS[request.param]


@pytest.fixture(params=list(FORMATS))
def format(request: pytest.FixtureRequest) -> Any:
    """Give one format after the other."""
    return FORMATS[request.param]


@pytest.fixture
def client(sample: TestApp, dialect: DialectCase, format: Any) -> Client:
    """Give a client of the sample."""
    return Client(sample, dialect, format)


@pytest.fixture
def client_of(dialect: DialectCase, format: Any) -> Callable[[TestApp], Client]:
    """Give ``client_of(app)``: a client of an application that the test started itself."""
    return lambda app: Client(app, dialect, format)


@pytest.fixture
def tables(_state: State, dialect: DialectCase) -> Callable[[], AbstractContextManager[Connection]]:
    """Give ``tables()``: a connection to the database of the sample's dialect, behind its back."""
    return lambda: databases.direct_connection(Database({"url": _state.urls[dialect.name]}))


@pytest.fixture
def rows(tables: Callable[[], AbstractContextManager[Connection]]) -> Callable[[], list[Any]]:
    """Give ``rows()``: what is in the table of attachments, but for the root volume, oldest first."""
    statement = select(attachments).where(~attachments.c.root).order_by(attachments.c.created_at)

    def read() -> list[Any]:
        with tables() as connection:
            return list(connection.execute(statement).mappings())

    return read


@pytest.fixture
def set_server(var: Path, dialect: DialectCase) -> Callable[..., None]:
    """Give ``set_server(status=..., task_state=...)``: change a server of the sample, by default the first one."""
    path = var / f"{dialect.name}-servers.json"

    def change(server_id: str | None = None, **values: str | None) -> None:
        document = json.loads(path.read_text())
        [server] = [each for each in document["servers"] if each["id"] == (server_id or dialect.server)]
        server.update(values)
        path.write_text(json.dumps(document))

    return change


@pytest.fixture
def new_url(database_kind: Any, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database without tables."""
    with database_kind.new(tmp_path / "new.db") as url:
        yield url


@pytest.fixture(scope="session")
def empty_url(database_kind: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a database with empty tables, to be copied."""
    with database_kind.new(tmp_path_factory.mktemp("empty") / "registry.db") as url:
        schema.upgrade(Database({"url": url}))
        yield url


@pytest.fixture
def url(database_kind: Any, empty_url: str, tmp_path: Path) -> Iterator[str]:
    """Give the URL of the database that a registry, a catalog or a command is tested on; its tables are empty."""
    with database_kind.copy(empty_url, tmp_path / "registry.db") as url:
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Give that database."""
    database = Database({"url": url})
    yield database
    database.dispose()


@pytest.fixture
def _logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OS_VOLUME_EXT_PASTE", raising=False)
    with command.restoring_loggers():
        yield


@pytest.fixture
def run(paste: Path, capsys: pytest.CaptureFixture[str], _logging: None) -> command.Command:
    """Give ``run(*arguments)``: the exit status, stdout and stderr of a command.

    ``paste`` is the paste file that the test's module has.
    """
    return command.Command(paste, capsys)


@pytest.fixture
def error_message(run: command.Command) -> Callable[..., str]:
    """Give ``error_message(*arguments, status=1)``: the one line that a failing command prints."""
    return partial(command.error_message, run)
