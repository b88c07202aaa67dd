"""The sample pipeline with a real Keystone, loaded into the tests' process."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from tests.integration.keystone.sample import CLI, DIALECTS, PASTE, Client, DialectCase, State
from tests.support.real_keystone import Keystone, People
from tests.support.sample import closing_apps, load


@pytest.fixture
def second_keystone(keystone: Keystone) -> Iterator[Callable[..., Keystone]]:
    """Give ``second_keystone(expiration=SECONDS)``: another process with the same database and keys."""
    started: list[Keystone] = []

    def start(**options: Any) -> Keystone:
        server = Keystone(keystone.venv, keystone.directory, **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


def _load(var: Path, keystone: Keystone, paste: Path = PASTE) -> TestApp:
    return load(paste, var, keystone=keystone.url)


@pytest.fixture(scope="session")
def _first_state(
    keystone: Keystone,
    people: People,
    run_command: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> State:
    directory = tmp_path_factory.mktemp("state") / "var"
    servers: dict[str, dict[str, str]] = {}
    with closing_apps():
        app = _load(directory, keystone)
        for dialect in DIALECTS.values():
            servers[dialect.name] = {}
            for where, user in (("here", "member"), ("there", "outsider")):
                headers = {"X-Auth-Token": people.tokens[user]}
                made = app.post_json(f"{dialect.base}/servers", {"server": {"name": where}}, headers=headers)
                servers[dialect.name][where] = str(made.json["server"]["id"])
    for dialect in DIALECTS.values():
        for where, volume in dialect.volumes.items():
            options = ("--paste", PASTE, "--var", directory, "--set", f"keystone={keystone.url}")
            which = ("--project", people.projects[where], "--filter", f"volumes_{dialect.name}")
            run_command(*CLI, "volume", "create", volume, *which, *options, cwd=directory)
    return State(directory, servers)


@pytest.fixture
def state(_first_state: State, tmp_path: Path) -> State:
    """Give a state of one's own."""
    return State(Path(shutil.copytree(_first_state.directory, tmp_path / "var", symlinks=True)), _first_state.servers)


@pytest.fixture
def paste_file(tmp_path: Path) -> Callable[..., Path]:
    """Give ``paste_file(replaced, by)``: a copy of the sample's paste file with one text in place of another."""

    def write(replaced: str, by: str) -> Path:
        text = PASTE.read_text()
        assert replaced in text
        path = tmp_path / "api-paste.ini"
        path.write_text(text.replace(replaced, by))
        return path

    return write


@pytest.fixture(params=list(DIALECTS))
def dialect(request: pytest.FixtureRequest) -> DialectCase:
    """Give one dialect after the other."""
    return DIALECTS[request.param]


@pytest.fixture(params=["json", "xml"])
def format(request: pytest.FixtureRequest) -> str:
    """Give one format after the other."""
    return request.param


@pytest.fixture
def serve(keystone: Keystone, state: State, dialect: DialectCase, format: str) -> Iterator[Callable[..., Client]]:
    """Give ``serve(paste=PASTE)``: a client of the sample, which is loaded into this process."""
    with closing_apps():
        yield lambda paste=PASTE: Client(
            _load(state.directory, keystone, paste), dialect, format, state.servers[dialect.name]
        )


@pytest.fixture
def client(serve: Callable[..., Client]) -> Client:
    """Give a client of the sample as it is."""
    return serve()
