"""The sample of ``etc/api-paste.ini``, a client that speaks both dialects in both formats, and the command."""

import configparser
import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from lxml import etree
from paste.deploy import loadapp
from sqlalchemy import Connection, select
from webtest import TestApp

from os_volume_ext.attachments.periodic import PeriodicReconciler
from os_volume_ext.cli.main import main
from os_volume_ext.registry import schema
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments
from tests.support import databases
from tests.support.paths import PASTE

TestApp.__test__ = False  # its name makes pytest take it for a class of tests

NAMESPACE = "http://docs.openstack.org/compute/api/v1.1"
ATTRIBUTES = ["device", "serverId", "id", "volumeId", "tag", "delete_on_termination", "attachment_id", "bdm_uuid"]
MADE_FOR_EACH = ("X-Openstack-Request-Id",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    """Leave out XML where a database server is: formats do not reach that far down."""
    config.hook.pytest_deselected(items=[item for item in items if _is_xml_on_a_server(item)])
    items[:] = [item for item in items if not _is_xml_on_a_server(item)]


def _is_xml_on_a_server(item: pytest.Function) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get("format") == "xml" and parameters.get("place", "sqlite") != "sqlite"


@dataclass(frozen=True)
class Dialect:
    """What the sample holds in one dialect, and what that dialect says.

    ``others_*`` belong to another project, ``unknown_*`` to nobody; both have the same number of letters.
    ``conflict`` and ``in_use`` are the names and the statuses of faults.
    """

    name: str
    base: str
    number: type
    server: str
    other_server: str
    others_server: str
    building: str
    rooted: str
    root_volume: str
    volume: str
    other_volume: str
    others_volume: str
    unknown_server: str
    unknown_volume: str
    malformed: tuple[str, ...]
    spellings: tuple[str, str]
    first_device: str
    detach_status: int
    conflict: tuple[str, int]
    in_use: tuple[str, int]
    bad_method: str
    member_methods: str
    details: bool

    def collection(self, server: str | None = None) -> str:
        """Return the path of a server's attachments."""
        return f"{self.base}/servers/{server or self.server}/os-volume_attachments"

    def shown(self, server: str, volume: str, device: str) -> dict[str, Any]:
        """Return what an attachment looks like."""
        return {
            "device": device,
            "serverId": self.number(server),
            "id": self.number(volume),
            "volumeId": self.number(volume),
        }


DIALECTS = {
    "cyclades": Dialect(
        name="cyclades",
        base="/compute/v2.0",
        number=int,
        server="1134",
        other_server="1135",
        others_server="2001",
        building="1140",
        rooted="1141",
        root_volume="1000",
        volume="9",
        other_volume="99",
        others_volume="200",
        unknown_server="2002",
        unknown_volume="201",
        malformed=("x", "-9", "+9", "9.5", "1" * 19, "9_9", " 9", "٩", "a26887c6-c47b-4654-abb5-dfadf7d3f803"),
        spellings=("01134", "009"),
        first_device="",
        detach_status=200,
        conflict=("badRequest", 400),
        in_use=("badRequest", 400),
        bad_method="notAllowed",
        member_methods="GET, HEAD, DELETE",
        details=True,
    ),
    "openstack": Dialect(
        name="openstack",
        base="/v2.1",
        number=str,
        server="4335bab6-6086-4247-8274-8b8b048edaaa",
        other_server="20f0cb44-7b00-4019-a612-364777cd2931",
        others_server="9a1f3c52-7d6e-4b0b-9f7a-0c2d5e8f1a34",
        building="5d1f7c1a-0c5e-4c6f-9d5b-5a1d3f0c9b77",
        rooted="7be0e5f4-8c1d-4a53-9a54-2f6d1c0e8b10",
        root_volume="c0ffee00-1111-4222-8333-444444444444",
        volume="a26887c6-c47b-4654-abb5-dfadf7d3f803",
        other_volume="a26887c6-c47b-4654-abb5-dfadf7d3f804",
        others_volume="b7d0e9a4-54c1-4a3e-8a44-6f1f0b9a2c11",
        unknown_server="00000000-0000-4000-8000-000000000000",
        unknown_volume="00000000-0000-4000-8000-000000000001",
        malformed=("x", "9", "a26887c6c47b4654abb5dfadf7d3f803", "{a26887c6-c47b-4654-abb5-dfadf7d3f803}", "a" * 36),
        spellings=("4335BAB6-6086-4247-8274-8B8B048EDAAA", "A26887C6-c47b-4654-ABB5-dfadf7d3f803"),
        first_device="/dev/vdb",
        detach_status=202,
        conflict=("conflictingRequest", 409),
        in_use=("badRequest", 400),
        bad_method="badMethod",
        member_methods="GET, HEAD, DELETE, PUT",
        details=False,
    ),
}


@dataclass(frozen=True)
class Fault:
    """A fault, as it was read from an answer; ``details`` is None where it has none."""

    name: str
    code: int
    message: str
    details: str | None


class JSON:
    """How requests are written and answers are read in JSON; reading is strict."""

    name = "json"
    media_type = "application/json"

    def request(self, volume: Any, **more: Any) -> bytes:
        """Write a request to attach."""
        return json.dumps({"volumeAttachment": {"volumeId": volume, **more}}).encode()

    def shown(self, attachment: Mapping[str, Any]) -> dict[str, Any]:
        """Return what this format makes of an attachment's values."""
        return dict(attachment)

    def attachment(self, body: bytes) -> dict[str, Any]:
        """Read one attachment."""
        document = json.loads(body)
        assert list(document) == ["volumeAttachment"]
        return document["volumeAttachment"]

    def attachments(self, body: bytes) -> list[dict[str, Any]]:
        """Read a list of attachments."""
        document = json.loads(body)
        assert list(document) == ["volumeAttachments"]
        return document["volumeAttachments"]

    def fault(self, body: bytes) -> Fault:
        """Read a fault."""
        ((name, fault),) = json.loads(body).items()
        assert set(fault) - {"details"} == {"code", "message"}
        return Fault(name, fault["code"], fault["message"], fault.get("details"))


class XML:
    """The same in XML."""

    name = "xml"
    media_type = "application/xml"

    def request(self, volume: Any, **more: Any) -> bytes:
        """Write a request to attach."""
        return etree.tostring(etree.Element("volumeAttachment", {"volumeId": str(volume), **more}))

    def shown(self, attachment: Mapping[str, Any]) -> dict[str, Any]:
        """Return what this format makes of an attachment's values."""
        words = {True: "true", False: "false"}
        return {name: words.get(value, str(value)) for name, value in attachment.items() if value is not None}

    def attachment(self, body: bytes) -> dict[str, Any]:
        """Read one attachment."""
        return self._attributes(etree.fromstring(body))

    def attachments(self, body: bytes) -> list[dict[str, Any]]:
        """Read a list of attachments."""
        root = etree.fromstring(body)
        assert (root.tag, dict(root.attrib), root.text) == ("volumeAttachments", {}, None)
        return [self._attributes(child) for child in root]

    def fault(self, body: bytes) -> Fault:
        """Read a fault."""
        root = etree.fromstring(body)
        assert root.nsmap == {None: NAMESPACE}
        assert list(root.attrib) == ["code"]
        members = {etree.QName(child).localname: child.text or "" for child in root}
        assert set(members) - {"details"} == {"message"}
        return Fault(etree.QName(root).localname, int(root.get("code")), members["message"], members.get("details"))

    def _attributes(self, element: etree._Element) -> dict[str, Any]:
        assert (element.tag, element.nsmap, element.text, len(element)) == ("volumeAttachment", {}, None, 0)
        assert list(element.attrib) == [name for name in ATTRIBUTES if name in element.attrib]
        return dict(element.attrib)


FORMATS = {"json": JSON(), "xml": XML()}


@dataclass(frozen=True)
class Answer:
    """An answer, read in the format that it is said to have."""

    status: int
    headers: Any
    body: bytes

    @property
    def format(self) -> Any:
        """The format that the Content-Type names."""
        media_type, _, charset = self.headers["Content-Type"].partition("; ")
        assert charset == "charset=UTF-8"
        return FORMATS[media_type.removeprefix("application/")]

    @property
    def attachment(self) -> dict[str, Any]:
        """The attachment in it."""
        return self.format.attachment(self.body)

    @property
    def attachments(self) -> list[dict[str, Any]]:
        """The attachments in it."""
        return self.format.attachments(self.body)

    @property
    def fault(self) -> Fault:
        """The fault in it, which has the answer's own status."""
        fault = self.format.fault(self.body)
        assert fault.code == self.status
        return fault

    @property
    def failure(self) -> tuple[str, int]:
        """The fault's name and status."""
        return self.fault.name, self.status

    @property
    def volumes(self) -> list[str]:
        """The ids of the volumes in the list."""
        return [str(attachment["volumeId"]) for attachment in self.attachments]

    def lasting(self) -> tuple[int, dict[str, str], bytes]:
        """Return what the same request would be answered again."""
        kept = {name: value for name, value in self.headers.items() if name not in MADE_FOR_EACH}
        return self.status, kept, self.body


@dataclass(frozen=True)
class Client:
    """Sends requests in one dialect, one format and, if one is named, one microversion, as one user."""

    app: TestApp
    dialect: Dialect
    format: Any
    user: str | None = "demo"
    version: str | None = None

    def by(self, user: str | None) -> "Client":
        """Return the same client for another user; None sends no token."""
        return replace(self, user=user)

    def at(self, version: str | None) -> "Client":
        """Return the same client for a microversion; None names none."""
        return replace(self, version=version)

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        environ: Mapping[str, Any] | None = None,
        without: tuple[str, ...] = (),
    ) -> Answer:
        """Send a request. :param without: keys of the environ that it is to lack."""
        own = {"X-Auth-Token": f"{self.user}-token"} if self.user else {}
        if self.version:
            own["OpenStack-API-Version"] = f"compute {self.version}"
        request = self.app.RequestClass.blank(path, method=method, environ=dict(environ or {}))
        if body:
            request.body = body
            request.content_type = self.format.media_type
        request.headers.update({"Accept": self.format.media_type} | own | dict(headers or {}))
        for key in without:
            request.environ.pop(key, None)
        answer = self.app.do_request(request, expect_errors=True)
        return Answer(answer.status_int, answer.headers, answer.body)

    def path(self, server: str | None = None, volume: str | None = None) -> str:
        """Return the path of a server's attachments, or of one of them."""
        collection = self.dialect.collection(server)
        return collection if volume is None else f"{collection}/{volume}"

    def list(self, server: str | None = None, **query: Any) -> Answer:
        """List attachments."""
        names = {"since": "changes-since"}
        text = urlencode({names.get(name, name): value for name, value in query.items()})
        return self.request("GET", self.path(server) + (f"?{text}" if text else ""))

    def show(self, server: str | None = None, volume: str | None = None) -> Answer:
        """Show an attachment."""
        return self.request("GET", self.path(server, volume or self.dialect.volume))

    def attach(self, server: str | None = None, volume: str | None = None, **more: Any) -> Answer:
        """Attach a volume."""
        volume = volume or self.dialect.volume
        try:
            volume_id = self.dialect.number(volume)
        except ValueError:
            volume_id = volume
        return self.request("POST", self.path(server), self.format.request(volume_id, **more))

    def put(
        self, server: str | None = None, volume: str | None = None, wanted: str | None = None, **more: Any
    ) -> Answer:
        """Change an attachment, or the volume in it. :param wanted: the volume that is to be there; None: the same."""
        volume = volume or self.dialect.volume
        return self.request("PUT", self.path(server, volume), self.format.request(wanted or volume, **more))

    def detach(self, server: str | None = None, volume: str | None = None) -> Answer:
        """Detach a volume."""
        return self.request("DELETE", self.path(server, volume or self.dialect.volume))

    def shown(self, server: str | None = None, volume: str | None = None, device: str | None = None) -> dict[str, Any]:
        """Return what an attachment looks like in this dialect and this format."""
        dialect = self.dialect
        device = dialect.first_device if device is None else device
        return self.format.shown(dialect.shown(server or dialect.server, volume or dialect.volume, device))


@contextlib.contextmanager
def _remembering_databases() -> Iterator[list[Database]]:
    """Give the list of what is opened meanwhile: the processes of filters and commands would end where tests go on."""
    opened: list[Database] = []
    make = Database.__init__

    def remember(database: Database, options: Mapping[str, str]) -> None:
        make(database, options)
        opened.append(database)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Database, "__init__", remember)
        yield opened


def _close(databases: list[Database]) -> None:
    for database in databases:
        database.dispose()


def _load(paste: Path, var: Path) -> TestApp:
    return TestApp(loadapp(f"config:{paste}", global_conf={"var": str(var)}))


def _write_paste(folder: Path, urls: Mapping[str, str], without: str = "", **options: str) -> Path:
    parser = configparser.RawConfigParser()
    parser.read(PASTE)
    for dialect in DIALECTS.values():
        pipeline = f"pipeline:{dialect.name}"
        kept = [name for name in parser.get(pipeline, "pipeline").split() if name != without]
        parser.set(pipeline, "pipeline", " ".join(kept))
        for name, value in ({"database.url": urls[dialect.name].replace("%", "%%")} | options).items():
            parser.set(f"filter:volumes_{dialect.name}", name, value.replace("{base}", dialect.base))
    path = folder / "api-paste.ini"
    with path.open("w") as file:
        parser.write(file)
    return path


@dataclass(frozen=True)
class State:
    """A folder of the sample's state, and the URL of each dialect's database."""

    var: Path
    urls: Mapping[str, str]

    @contextlib.contextmanager
    def copy(self, place: Any, var: Path, names: Collection[str] = tuple(DIALECTS)) -> "Iterator[State]":
        """Give a copy. :param names: the dialects whose databases may be changed in it."""
        shutil.copytree(self.var, var, symlinks=True, ignore=shutil.ignore_patterns("*.db*"))
        with contextlib.ExitStack() as stack:
            copies = {name: stack.enter_context(place.copy(self.urls[name], var / f"{name}.db")) for name in names}
            yield State(var, {**self.urls, **copies})


@pytest.fixture(autouse=True)
def _close_databases() -> Iterator[None]:
    with _remembering_databases() as opened:
        yield
    _close(opened)


@pytest.fixture(scope="session")
def _first_state(place: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """Give what the sample's first start makes of an empty folder and of new databases."""
    folder = tmp_path_factory.mktemp("sample")
    with contextlib.ExitStack() as stack:
        urls = {name: stack.enter_context(place.new(folder / "var" / f"{name}.db")) for name in DIALECTS}
        for url in urls.values():
            schema.upgrade(Database({"url": url}))
        with _remembering_databases() as opened:
            _load(_write_paste(folder, urls), folder / "var")
        _close(opened)
        yield State(folder / "var", urls)


@pytest.fixture(scope="session")
def _unchanged_sample(place: Any, _first_state: State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestApp]:
    """Give one sample to all tests that only see requests refused."""
    folder = tmp_path_factory.mktemp("unchanged")
    with _first_state.copy(place, folder / "var") as state:
        with _remembering_databases() as opened:
            app = _load(_write_paste(folder, state.urls), state.var)
        yield app
        _close(opened)


@pytest.fixture
def _state(request: pytest.FixtureRequest, place: Any, tmp_path: Path, _first_state: State) -> Iterator[State]:
    """Give the sample's state, as its first start leaves it: a copy, which is faster."""
    names = [request.getfixturevalue("dialect").name] if "dialect" in request.fixturenames else DIALECTS
    with _first_state.copy(place, tmp_path / "var", names) as state:
        yield state


@pytest.fixture
def var(_state: State) -> Path:
    """Give the folder of the sample's state."""
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
    return lambda without="", **options: _write_paste(tmp_path, urls, without, **options)


@pytest.fixture
def start(var: Path, paste_file: Callable[..., Path]) -> Callable[..., TestApp]:
    """Give ``start(paste_file)``: the sample's application with its state in ``var``."""
    return lambda paste=None: _load(paste or paste_file(), var)


@pytest.fixture
def sample(request: pytest.FixtureRequest, place: Any) -> TestApp:
    """Give the sample with a fresh state; one for all to tests that are marked ``changes_nothing``."""
    if request.node.get_closest_marker("changes_nothing"):
        return request.getfixturevalue("_unchanged_sample")
    return request.getfixturevalue("start")()


@pytest.fixture
def backgrounds(monkeypatch: pytest.MonkeyPatch) -> list[PeriodicReconciler]:
    """Give what reconciles by itself in the applications that the test starts, once it is to start: it has not."""
    found: list[PeriodicReconciler] = []
    monkeypatch.setattr(PeriodicReconciler, "start", lambda background: found.append(background))
    return found


@pytest.fixture(params=list(DIALECTS))
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Give one dialect after the other."""
    return DIALECTS[request.param]


@pytest.fixture(params=list(FORMATS))
def format(request: pytest.FixtureRequest) -> Any:
    """Give one format after the other."""
    return FORMATS[request.param]


@pytest.fixture
def client(sample: TestApp, dialect: Dialect, format: Any) -> Client:
    """Give a client of the sample."""
    return Client(sample, dialect, format)


@pytest.fixture
def client_of(dialect: Dialect, format: Any) -> Callable[[TestApp], Client]:
    """Give ``client_of(app)``: a client of an application that the test started itself."""
    return lambda app: Client(app, dialect, format)


@pytest.fixture
def tables(_state: State, dialect: Dialect) -> Callable[[], AbstractContextManager[Connection]]:
    """Give ``tables()``: a connection to the database of the sample's dialect, behind its back."""
    return lambda: databases.behind_their_backs(Database({"url": _state.urls[dialect.name]}))


@pytest.fixture
def rows(tables: Callable[[], AbstractContextManager[Connection]]) -> Callable[[], list[Any]]:
    """Give ``rows()``: what is in the table of attachments, but for the root volume, oldest first."""
    statement = select(attachments).where(~attachments.c.root).order_by(attachments.c.created_at)

    def read() -> list[Any]:
        with tables() as connection:
            return list(connection.execute(statement).mappings())

    return read


@pytest.fixture
def new_url(place: Any, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database without tables."""
    with place.new(tmp_path / "new.db") as url:
        yield url


@pytest.fixture(scope="session")
def empty_url(place: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a database with empty tables, to be copied."""
    with place.new(tmp_path_factory.mktemp("empty") / "registry.db") as url:
        schema.upgrade(Database({"url": url}))
        yield url


@pytest.fixture
def url(place: Any, empty_url: str, tmp_path: Path) -> Iterator[str]:
    """Give the URL of the database that a registry, a catalog or a command is tested on; its tables are empty."""
    with place.copy(empty_url, tmp_path / "registry.db") as url:
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Give that database."""
    database = Database({"url": url})
    yield database
    database.dispose()


@pytest.fixture
def _logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what the command sets up for a process of its own."""
    monkeypatch.delenv("OS_VOLUME_EXT_PASTE", raising=False)
    loggers = [logging.getLogger(name) for name in (None, "cliff.app", "alembic", "os_volume_ext")]
    before = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def run(paste: Path, capsys: pytest.CaptureFixture[str], _logging: None) -> Callable[..., tuple[int, str, str]]:
    """Give ``run(*arguments)``: the exit status, and what was printed to the one and to the other.

    ``paste`` is the paste file that the test's module has.
    """

    def call(*arguments: str, paste: Path | str | None = paste) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main([*arguments, *(["--paste", str(paste)] if paste else [])])
        except SystemExit as error:  # argparse's, or help's
            status = error.code or 0
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def told(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Give ``told(*arguments)``: the one sentence that a command said that failed."""

    def call(*arguments: str, status: int = 1, **more: Any) -> str:
        found, out, err = run(*arguments, **more)
        assert (found, out) == (status, "")
        assert err.startswith("os-volume-ext: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return call
