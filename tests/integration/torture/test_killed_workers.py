"""Workers and reconcile are killed, at each of their steps and at any moment, and nothing is lost.

- no volume is ever in two servers;
- no attachment that was acknowledged to a caller is lost, and no detach that was acknowledged is undone;
- after reconcile registry and backend agree, and nothing is under way; reconcile once more changes nothing;
- reconcile beside live traffic breaks nothing, and no volume stays locked.

The steps are those of ``failpoints``: a first run of each story records them, and then a worker dies at each of
them. In the stories time passes by making rows older in the database while no worker is alive, so that no deadline is
missed; under the traffic real time passes.
"""

import contextlib
import http.client
import itertools
import json
import random
import re
import shutil
import socket
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, text

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.models import ATTACHED, REATTACHING
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments as table
from os_volume_ext.registry.tables import volumes as catalog
from tests.integration.torture.zygote import Server, Worker, Zygote, compute_api
from tests.support import worker_app
from tests.support.databases import age_rows
from tests.support.inprocess import collection
from tests.support.waiting import TIMEOUT

DEATHS = 1000  # on each kind of database, in all
AT_ANY_MOMENT = 400  # of these, at least
KILLED = -9  # how a process ends then
SERVERS = tuple(str(uuid.UUID(int=number)) for number in range(1134, 1142))
VOLUMES = tuple(str(uuid.UUID(int=number)) for number in range(1, 401))
HERE, THERE = SERVERS[:2]
VOLUME, OTHER_VOLUME = VOLUMES[:2]
# A reconcile with nothing to do has such steps only.
READS = {
    "SELECT",
    "find",
    "get",
    "walk",
    "backend attached",
    "backend disk_size",
    "backend incomplete",
    "compute server",
    "compute servers",
}
LONG = timedelta(hours=1)  # after which any row is stale
WORKERS, CALLERS = 3, 12
OPERATION_TIMEOUT, STALE_AFTER = 1, 5  # seconds, under the traffic
ATTACH_STATUSES = {"2.85": 200, "2.101": 202}  # of a successful attach, by microversion

# The server may still be handling the request of a client that is dead.
OTHERS_SESSIONS = {
    "postgresql": "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "FROM information_schema.processlist WHERE db = database() AND id <> connection_id()",
}


def send_request(
    port: int,
    method: str,
    server: str,
    volume: str = "",
    document: Any = None,
    die_at: str | None = None,
    made_anew: str | None = None,
    version: str = "2.85",
) -> tuple[int, Any] | None:
    """Send a request for a server's attachments, or one of them.

    :param die_at: the step at which the worker dies; "" for none, but the steps are recorded.
    :param made_anew: VOLUME/STEP: the step at which another project makes the volume anew.
    :returns: status and document, or None without a response.
    """
    headers = {"OpenStack-API-Version": f"compute {version}", "Content-Type": "application/json"}
    if die_at is not None:
        headers["X-Die-At"] = die_at
    if made_anew is not None:
        headers["X-Made-Anew"] = made_anew
    body = document and json.dumps({"volumeAttachment": document})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, f"{collection(server)}{volume and '/'}{volume}", body, headers)
        response = connection.getresponse()
        document = response.read()
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return response.status, json.loads(document) if document else None


class Harness:
    """A database, the backend's directory, a worker, and what was acknowledged to callers.

    ``acknowledged`` maps (volume, server) to whether it is attached, from the last successful request.
    ``lost`` has the disks that the backend has lost, which are missing until reconcile has run.
    ``worker`` serves requests; one is started when needed, with ``max_attachments`` if the harness is ``limited``.
    ``steps`` are those of the last operation that recorded them.
    """

    def __init__(
        self, directory: Path, url: str, servers: tuple[str, ...], deaths: Counter[str], **options: str
    ) -> None:
        """Prepare the directory and start the zygote.

        :param deaths: counts the deaths, by operation and step.
        :param options: of the filter.
        """
        worker_app.prepare(directory, url, servers, VOLUMES)
        self.directory = directory
        self.servers = servers
        self.deaths = deaths
        self.acknowledged: dict[tuple[str, str], bool] = {}
        self.lost: set[tuple[str, str]] = set()
        self.worker: Worker | None = None
        self.limited = False
        self.steps: list[str] = []
        self._database = Database({"url": url})
        self._engine = self._database.make_engine()
        self._witness = worker_app.Witness(directory)
        listening = socket.create_server(("127.0.0.1", 0))
        self._compute = Server(listening, compute_api(directory))
        threading.Thread(target=self._compute.serve_forever, daemon=True).start()
        own = {
            "dialect": "openstack",
            "compute.url": f"http://127.0.0.1:{listening.getsockname()[1]}",
            "compute.token": "token",
        }
        self.zygote = Zygote(directory, **{**worker_app.options(directory, url), **own, **options})

    def end(self) -> None:
        self.zygote.end()
        self._compute.shutdown()
        self._compute.server_close()
        self._engine.dispose()
        self._database.dispose()

    # -- requests and commands -----------------------------------------------------------------------

    def attach(
        self,
        volume: str = VOLUME,
        server: str = HERE,
        die_at: str | None = None,
        made_anew: str | None = None,
        **more: Any,
    ) -> None:
        self.acknowledged.pop((volume, server), None)
        document = {"volumeId": volume, **more}
        if self._request("attach", "POST", server, "", document, die_at, made_anew) == 200:
            self.acknowledged[volume, server] = True

    def detach(self, volume: str = VOLUME, server: str = HERE, die_at: str | None = None) -> None:
        self.acknowledged.pop((volume, server), None)
        if self._request("detach", "DELETE", server, volume, None, die_at) == 202:
            self.acknowledged[volume, server] = False

    def update(self, volume: str = VOLUME, server: str = HERE, die_at: str | None = None) -> None:
        document = {"volumeId": volume, "delete_on_termination": True}
        self._request("update", "PUT", server, volume, document, die_at)

    def show(self, volume: str = VOLUME, server: str = HERE) -> int | None:
        return self._request("show", "GET", server, volume)

    def reconcile(self, die_at: str, everything: bool = True) -> None:
        worker = self.zygote.fork("reconcile", everything=everything, die_at=die_at)
        if die_at:
            self._reap(worker, f"{'reconcile --all' if everything else 'reconcile'}: {die_at}")
            return
        assert worker.wait() == 0, self.log()
        self.steps = self._written(worker)["steps"]

    def adopt(self, die_at: str = "", volume: str = VOLUME, server: str = HERE) -> None:
        worker = self.zygote.fork("adopt", server=server, volume=volume, die_at=die_at)
        if die_at:
            self._reap(worker, f"adopt: {die_at}")
            return
        assert worker.wait() == 0, self.log()
        self.steps = self._written(worker)["steps"]

    def _request(
        self,
        what: str,
        method: str,
        server: str,
        volume: str,
        document: Any = None,
        die_at: str | None = None,
        made_anew: str | None = None,
    ) -> int | None:
        if self.worker is None:
            self.worker = self.zygote.fork("serve", limited=self.limited)
        response = send_request(self.zygote.port, method, server, volume, document, die_at, made_anew)
        if die_at:
            worker, self.worker = self.worker, None
            self._reap(worker, f"{what}: {die_at}")
        elif die_at is not None:
            self.steps = self._written(self.worker)["steps"]
        return response and response[0]

    def _reap(self, worker: Worker, what: str) -> None:
        assert worker.wait() == KILLED, self.log()
        self.deaths[what] += 1

    # -- events ----------------------------------------------------------------------------------------

    def delete_server(self, server: str = HERE) -> None:
        shutil.rmtree(self.directory / "backend" / "servers" / server)
        self._forget(server)

    def lose_server(self, server: str = HERE) -> None:
        """Remove a server from the backend only."""
        (self.directory / "backend" / "servers" / server).rename(self.directory / "lost" / server)

    def find_server(self, server: str = HERE) -> None:
        """Let the backend have a server again that it has lost."""
        (self.directory / "lost" / server).rename(self.directory / "backend" / "servers" / server)

    def lose_rows(self) -> None:
        """Remove all rows, as before this extension was installed."""
        self.acknowledged.clear()
        with self.connection() as connection:
            connection.execute(delete(table))

    def lose_disk(self, volume: str = VOLUME, server: str = HERE) -> None:
        """Remove a disk from the backend only."""
        (link,) = (link for link in self._links(server) if link.readlink().name == volume)
        link.unlink()
        self.lost.add((volume, server))

    def move_disk(self, server: str = HERE) -> None:
        """Change the device of a disk in the backend only."""
        (link,) = self._links(server)
        link.rename(link.with_name("vdz"))

    def swap_disks(self, server: str = HERE) -> None:
        """Swap the devices of two disks in the backend only."""
        one, other = self._links(server)
        volumes = one.readlink(), other.readlink()
        for link, volume in zip((other, one), volumes, strict=True):
            link.unlink()
            link.symlink_to(volume)

    def pass_time(self) -> None:
        """Make every pending row stale, after the idle worker is killed."""
        self.kill_idle()
        self.wait_for_sessions()
        self._age_rows(LONG)

    def set_clock_back(self) -> None:
        """Let rows have been changed later than now by the database's clock."""
        self._age_rows(-LONG / 2)

    def _age_rows(self, by: timedelta) -> None:
        with self.connection() as connection:
            age_rows(connection, by)

    def reset(self) -> None:
        """Restore the initial state; no operation may be running."""
        self.acknowledged.clear()
        self.lost.clear()
        servers = self.directory / "backend" / "servers"
        shutil.rmtree(self.directory / "lost")
        for directory in (
            self.directory / "lost",
            self.directory / "witness",
            *(servers / server for server in self.servers),
        ):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        with self.connection() as connection:
            connection.execute(delete(table))
            connection.execute(delete(catalog).where(catalog.c.project_id != "demo"))
            known = set(connection.execute(select(catalog.c.id)).scalars())
        for volume in {VOLUME, OTHER_VOLUME} - known:
            SQLCatalog({}, self._database).create(Volume(volume, "demo"))
        self._database.dispose()  # wait_for_sessions would wait for its own

    def kill_idle(self) -> None:
        """Kill the worker, if there is one."""
        worker, self.worker = self.worker, None
        if worker:
            worker.kill()
            self._reap(worker, "idle")

    def _forget(self, server: str) -> None:
        self.acknowledged = {
            (volume, each): there for (volume, each), there in self.acknowledged.items() if each != server
        }
        for mark in (self.directory / "witness").iterdir():
            if mark.is_symlink() and mark.readlink().name == server:
                mark.unlink()

    # -- state ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection
        if self._engine.name == "sqlite":
            self._engine.dispose()  # the next to open the file is the first after a death

    def rows(self) -> dict[tuple[str, str], Any]:
        """Return all of each row, by volume and server."""
        with self.connection() as connection:
            return {(row.volume_id, row.server_id): row for row in connection.execute(select(table))}

    def disks(self) -> set[tuple[str, str]]:
        """Return each disk's volume and server."""
        return worker_app.disks(self.directory)

    def has_disk(self, volume: str, server: str) -> bool:
        """Return whether there is such a disk; others may come and go meanwhile."""
        for link in self._links(server):
            with contextlib.suppress(FileNotFoundError):
                if link.readlink().name == volume:
                    return True
        return False

    def _links(self, server: str) -> list[Path]:
        return list((self.directory / "backend" / "servers" / server).glob("vd*"))

    def is_known(self, volume: str = VOLUME) -> bool:
        """Return whether the project has a volume."""
        known = select(catalog.c.id).where(catalog.c.id == volume, catalog.c.project_id == "demo")
        with self.connection() as connection:
            return bool(connection.execute(known).all())

    def wait_for_sessions(self) -> None:
        """Wait until the database server has ended the sessions of killed workers."""
        theirs = OTHERS_SESSIONS.get(self._engine.name)
        deadline = time.monotonic() + TIMEOUT
        while theirs:
            with self.connection() as connection:
                if not connection.execute(text(f"SELECT count(*) {theirs}")).scalar_one():
                    return
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def _written(self, worker: Worker) -> Any:
        """Return what a worker wrote down."""
        path = self.zygote.report(worker)
        deadline = time.monotonic() + TIMEOUT
        while not path.exists():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.002)
        written = json.loads(path.read_text())
        path.unlink()
        return written

    def log(self) -> str:
        return (self.directory / "log").read_text()[-5000:]

    # -- checks -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that rows and disks match what was acknowledged; holds at any moment."""
        assert self._witness.seen == []
        rows, disks = self.rows(), self.disks()
        assert len({volume for volume, _ in disks}) == len(disks), disks
        for each, there in self.acknowledged.items():
            assert (each in disks) == there or each in self.lost, each
            assert (each in rows) == there, each
            assert not there or rows[each].state in (ATTACHED, REATTACHING), rows[each]

    def check_reconciled(self) -> None:
        """Let a worker reconcile twice; check that registry and backend agree, that the second changed nothing."""
        self.worker = self.zygote.fork("serve", limited=self.limited, reconciled=True)
        written = self._written(self.worker)
        first, second = written["findings"]
        assert not [finding for finding in first if finding[0] == Outcome.UNRESOLVED]
        assert not [finding for finding in second if finding[0] != Outcome.CONSISTENT]
        assert {re.fullmatch(r"(?:before|after) (.+?)(?: \d+)?", step)[1] for step in written["steps"]} <= READS
        self.lost.clear()
        self.check()
        rows = self.rows()
        assert {row.state for row in rows.values()} <= {ATTACHED}
        assert rows.keys() == self.disks()

    def check_usable(self) -> None:
        """Check that what is attached can be shown, detached and attached again."""
        for volume, server in self.rows():
            assert self.show(volume, server) == 200
            self.detach(volume, server)
            assert self.acknowledged[volume, server] is False
        if self.is_known():
            server = next(each for each in self.servers if (self.directory / "backend" / "servers" / each).is_dir())
            self.attach(server=server)
            assert self.acknowledged[VOLUME, server]
            self.detach(server=server)
            assert self.acknowledged[VOLUME, server] is False
        self.check()


@contextlib.contextmanager
def running(
    database_kind: Any, directory: Path, servers: tuple[str, ...], deaths: Counter[str], **options: str
) -> Iterator[Harness]:
    with database_kind.new(directory / "registry.db") as url:
        harness = Harness(directory, url, servers, deaths, **options)
        try:
            yield harness
        finally:
            harness.end()


@pytest.fixture(scope="module")
def deaths(database_kind: Any) -> Iterator[Counter[str]]:
    """Give the count of deaths on a kind of database; with ``-s`` it is shown."""
    deaths: Counter[str] = Counter()
    yield deaths
    print(f"\n{deaths.total()} deaths:", *(f"{count:5} {what}" for what, count in sorted(deaths.items())), sep="\n")


@pytest.fixture(scope="module")
def harness(database_kind: Any, deaths: Counter[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Give one harness to all stories; each begins by resetting it."""
    with running(database_kind, tmp_path_factory.mktemp("killed"), (HERE, THERE), deaths) as harness:
        yield harness


# -- at each step ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """The initial state, and the operation in which a worker dies.

    ``core``: steps that the operation has for certain. ``limited``: whether there is ``max_attachments``, with which
    the reserve is a transaction of several statements. ``goes``: whether the volume is to be deleted in the end; None
    if that depends on the step. ``after``: what happens after the death.
    """

    operation: Callable[..., Any]
    given: tuple[Callable[[Harness], Any], ...] = ()
    core: tuple[str, ...] = ()
    limited: bool = False
    goes: bool | None = False
    after: tuple[Callable[[Harness], Any], ...] = ()


RESERVE = ("before reserve", "after INSERT", "after reserve")
RECHECK = ("after find_excluding", "before catalog recheck", "after catalog recheck")
NO_SERVER = ("before compute server", "before compute check", "after compute check")  # as the operator sees it
ATTACH = ("before backend attach", "before symlink", "after symlink", "after fsync 2", "after backend attach")
CONFIRM = ("before confirm", "before UPDATE", "after UPDATE", "after confirm")
TAKE_DEVICE = ("after UPDATE 2", "after UPDATE 3", "before COMMIT")
CLAIM = ("before claim", "after UPDATE", "after claim")
DETACH = ("before backend detach", "before unlink", "after unlink", "after fsync", "after backend detach")
REMOVE = ("before remove", "before DELETE", "after DELETE", "after remove")
RESPONSE = ("before response", "after response")
GONE = ("after of_volume", "before catalog delete", "after SELECT", "before COMMIT", "after catalog delete")

attach, detach, reconcile, adopt = Harness.attach, Harness.detach, Harness.reconcile, Harness.adopt
pending = partial(reconcile, everything=False)
long_ago = Harness.pass_time
to_be_deleted = partial(attach, delete_on_termination=True)

STORIES = {
    "attach": Story(attach, core=(*RESERVE, *RECHECK, *ATTACH, *CONFIRM, *RESPONSE)),
    "attach at a device": Story(partial(attach, device="/dev/vdk"), core=(*RESERVE, *ATTACH, *CONFIRM, *RESPONSE)),
    "attach where there is a limit": Story(
        attach,
        (partial(attach, volume=OTHER_VOLUME),),
        ("before COMMIT", *RESERVE, *ATTACH, *CONFIRM, *RESPONSE),
        limited=True,
    ),
    "attach at the device of a disk that is gone": Story(
        attach,
        (partial(attach, volume=OTHER_VOLUME), partial(Harness.lose_disk, volume=OTHER_VOLUME)),
        (*RESERVE, *ATTACH, *CONFIRM, *TAKE_DEVICE, *RESPONSE),
    ),
    "attach from a deleted server": Story(
        partial(attach, server=THERE),
        (attach, Harness.delete_server),
        (
            "after find_conflicting",
            *NO_SERVER,
            "before backend attached",
            *CLAIM,
            "before transfer",
            "after transfer",
            "before COMMIT",
            *RECHECK,
            *ATTACH,
            *CONFIRM,
        ),
    ),
    "attach from a deleted server where there is a limit": Story(
        partial(attach, server=THERE),
        (partial(attach, volume=OTHER_VOLUME, server=THERE), attach, Harness.delete_server),
        (
            "after find_conflicting",
            *NO_SERVER,
            "before backend attached",
            *CLAIM,
            "before transfer",
            "after transfer",
            "before COMMIT",
            *RECHECK,
            *ATTACH,
            *CONFIRM,
        ),
        limited=True,
    ),
    "attach from a deleted server where a worker died attaching": Story(
        partial(attach, server=THERE),
        (partial(attach, die_at="after symlink"), Harness.delete_server, long_ago),
        ("after find_conflicting", *NO_SERVER, *CLAIM, "after transfer", *RECHECK, *ATTACH, *CONFIRM),
    ),
    "attach where a worker died attaching": Story(
        attach,
        (partial(attach, die_at="after symlink"), long_ago),
        (
            "after find_conflicting",
            *CLAIM,
            *RECHECK,
            "after backend attach",
            *CONFIRM,
            *RESPONSE,
        ),
    ),
    "update": Story(Harness.update, (attach,), (*CLAIM, *RESPONSE)),
    "detach": Story(detach, (attach,), (*CLAIM, *DETACH, *REMOVE, *RESPONSE)),
    "detach where a worker died detaching": Story(
        detach,
        (attach, partial(detach, die_at="before backend detach"), long_ago),
        (*CLAIM, *DETACH, *REMOVE, *RESPONSE),
    ),
    "detach where a worker died attaching": Story(
        detach, (partial(attach, die_at="before confirm"), long_ago), (*CLAIM, *DETACH, *REMOVE, *RESPONSE)
    ),
    "detach from a deleted server": Story(
        detach, (attach, Harness.delete_server), (*NO_SERVER, *CLAIM, "before backend detach", *REMOVE, *RESPONSE)
    ),
    "attach of a volume that another project makes anew meanwhile": Story(
        partial(attach, made_anew=f"{VOLUME}/before reserve"),
        core=(*RESERVE, *RECHECK, *REMOVE, *RESPONSE),
        goes=None,
    ),
    "detach from a server that only the backend has lost": Story(
        detach,
        (attach, Harness.lose_server),
        (*CLAIM, "before backend detach", "before restore", "after UPDATE 2", "after restore", *RESPONSE),
        after=(Harness.find_server,),
    ),
    "detach from a server that only the backend has lost, where a worker died detaching": Story(
        detach,
        (attach, partial(detach, die_at="after claim"), Harness.lose_server, long_ago),
        (*CLAIM, "before backend detach", *RESPONSE),
        after=(Harness.find_server,),
    ),
    "adopt": Story(
        adopt,
        (attach, Harness.lose_rows),
        ("before compute server", "after backend attached", *RESERVE, "before backend attached 2"),
        after=(adopt,),
    ),
    "reconcile where a claim is later than the database's clock": Story(
        pending,
        (partial(attach, die_at="after symlink"), Harness.set_clock_back),
        ("before restamp", "before UPDATE", "after UPDATE", "after restamp"),
    ),
    **{
        f"reconcile after a death in attach {step}": Story(
            pending, (partial(attach, die_at=step), long_ago), (*CLAIM, "after backend attached", *core)
        )
        for step, core in {
            "after reserve": (*DETACH[:1], *REMOVE),
            "after symlink": ("after backend attach", *CONFIRM),
            "before confirm": ("after backend attach", *CONFIRM),
        }.items()
    },
    **{
        f"reconcile after a death in detach {step}": Story(
            pending,
            (attach, partial(detach, die_at=step), long_ago),
            (*CLAIM, "after backend attached", *core, *REMOVE),
        )
        for step, core in {
            "before backend detach": DETACH,
            "after unlink": ("after backend detach",),
            "before remove": ("after backend detach",),
        }.items()
    },
    "reconcile after a death in a detach from a server that was then deleted": Story(
        pending,
        (to_be_deleted, partial(detach, die_at="after claim"), Harness.delete_server, long_ago),
        (*CLAIM, "before backend attached", "before backend detach", *REMOVE),
    ),
    "reconcile --all where a disk is gone": Story(
        reconcile,
        (attach, Harness.lose_disk),
        (*CLAIM, "after backend attached", "before backend attach", "after symlink", *CONFIRM),
    ),
    **{
        f"reconcile after a death in reconcile --all {step}, where a disk is gone": Story(
            pending,
            (attach, Harness.lose_disk, partial(reconcile, die_at=step), long_ago),
            (*CLAIM, "after backend attached", "before backend attach", *CONFIRM),
        )
        for step in ("after claim", "after symlink", "before confirm")
    },
    "reconcile --all where a disk is elsewhere": Story(
        reconcile, (attach, Harness.move_disk), ("after backend attached", *CONFIRM)
    ),
    "reconcile --all where two disks have changed places": Story(
        reconcile,
        (attach, partial(attach, volume=OTHER_VOLUME), Harness.swap_disks),
        ("after backend attached", *CONFIRM, *TAKE_DEVICE),
    ),
    "reconcile --all where a server is gone": Story(
        reconcile,
        (attach, Harness.delete_server),
        (*CLAIM, "before backend attached", "before backend detach", *REMOVE),
    ),
    "reconcile --all where a volume goes with its server": Story(
        reconcile,
        (to_be_deleted, Harness.delete_server),
        (*NO_SERVER, *CLAIM, "before backend attached", "before backend detach", *GONE, *REMOVE),
        goes=True,
    ),
    **{
        f"reconcile after a death in reconcile --all {step}, where a volume goes": Story(
            pending,
            (to_be_deleted, Harness.delete_server, partial(reconcile, die_at=step), long_ago),
            (*NO_SERVER, *CLAIM, "before catalog delete", *REMOVE),
            goes=True,
        )
        for step in ("before catalog delete", "after catalog delete")
    },
}


def begin(harness: Harness, story: Story) -> None:
    harness.reset()
    for event in story.given:
        event(harness)


@pytest.mark.parametrize("name", STORIES)
def test_nothing_is_lost_wherever_a_worker_dies(harness: Harness, times: int, name: str) -> None:
    story = STORIES[name]
    harness.kill_idle()
    harness.limited = story.limited
    begin(harness, story)
    story.operation(harness, die_at="")
    steps = harness.steps
    assert set(story.core) <= set(steps)
    # Between one "before" and another, and one "after" and another, nothing happens.
    moments = [list(names) for _, names in itertools.groupby(steps, lambda step: step.split()[0])]
    for number, names in itertools.product(range(times), moments):
        step = names[number % len(names)]
        begin(harness, story)
        story.operation(harness, die_at=step)
        harness.check()
        for event in story.after:
            event(harness)
        harness.pass_time()
        harness.check_reconciled()
        assert story.goes is None or harness.is_known() != story.goes
        harness.check_usable()


# -- at any moment -----------------------------------------------------------------------------------------------


class Caller(threading.Thread):
    """Attaches, shows and detaches without pause, and remembers what was acknowledged.

    ``attached`` has the server of each of its own volumes whose attach was acknowledged; ``unknown`` the servers of
    those whose last request got no response. Of shared volumes it remembers nothing. ``version`` is the microversion of
    its requests.
    """

    def __init__(self, harness: Harness, own: tuple[str, ...], shared: tuple[str, ...], version: str) -> None:
        super().__init__(daemon=True)
        self.attached: dict[str, str] = {}
        self.unknown: dict[str, set[str]] = {}
        self.responses: Counter[str] = Counter()
        self.broken: list[str] = []
        self.is_over = threading.Event()
        self._harness = harness
        self._own = own
        self._shared = shared
        self._version = version
        self._attached = ATTACH_STATUSES[version]

    def run(self) -> None:
        while not self.is_over.is_set():
            try:
                self._act()
            except Exception:
                self.broken.append(traceback.format_exc())
                return

    def _act(self) -> None:
        choice = random.random()
        if choice < 0.1:
            self._contend(random.choice(self._shared), random.choice((HERE, THERE)))
        elif self.attached and (choice < 0.5 or len(self.attached) > 3):
            volume = random.choice(list(self.attached))
            (self._show if choice < 0.35 else self._detach)(volume, self.attached[volume])
        elif self.unknown and choice < 0.85:
            volume = random.choice(list(self.unknown))
            server = random.choice(list(self.unknown[volume]))
            (self._resolve if choice < 0.65 else self._attach)(volume, server)
        else:
            self._attach(random.choice(self._own), random.choice(SERVERS))

    def _show(self, volume: str, server: str) -> None:
        status = self._send_request("show", volume, server, {200, 503})
        if status == 200:
            assert self._harness.has_disk(volume, server)

    def _detach(self, volume: str, server: str) -> None:
        del self.attached[volume]
        if self._send_request("detach", volume, server, {202, 503}) != 202:
            self.unknown[volume] = {server}
            return
        assert not self._harness.has_disk(volume, server)
        self._send_request("show", volume, server, {404, 503})

    def _resolve(self, volume: str, server: str) -> None:
        """Detach what may be attached there."""
        status = self._send_request("detach", volume, server, {202, 404, 409, 503})
        if status == 202:
            del self.unknown[volume]
        elif status == 404:
            self.unknown[volume].discard(server)
            if not self.unknown[volume]:
                del self.unknown[volume]

    def _attach(self, volume: str, server: str) -> None:
        if volume in self.attached:
            return
        status = self._send_request("attach", volume, server, {self._attached, 400, 403, 409, 503})
        if status == self._attached:
            self.attached[volume] = server
            self.unknown.pop(volume, None)
        elif status in (None, 503):
            self.unknown.setdefault(volume, set()).add(server)

    def _contend(self, volume: str, server: str) -> None:
        self._send_request("attach", volume, server, {self._attached, 400, 403, 409, 503})
        self._send_request("detach", volume, server, {202, 404, 409, 503})

    def _send_request(self, what: str, volume: str, server: str, may_be: set[int]) -> int | None:
        port = self._harness.zygote.port
        if what == "attach":
            response = send_request(port, "POST", server, "", {"volumeId": volume}, version=self._version)
        else:
            method = {"show": "GET", "detach": "DELETE"}[what]
            response = send_request(port, method, server, volume, version=self._version)
        self.responses[f"{what}: {response and response[0]}"] += 1
        assert response is None or response[0] in may_be, (what, volume, server, response)
        return response and response[0]


def test_nothing_is_lost_whichever_worker_is_killed_under_traffic(
    database_kind: Any, deaths: Counter[str], times: int, tmp_path: Path
) -> None:
    hurried = {"operation_timeout": str(OPERATION_TIMEOUT), "stale_after": str(STALE_AFTER), "reconcile_interval": "1"}
    shared, own = VOLUMES[:3], VOLUMES[3:]
    with running(database_kind, tmp_path, SERVERS, deaths, **hurried) as harness:
        versions = itertools.cycle(ATTACH_STATUSES)
        callers = [Caller(harness, own[number::CALLERS], shared, next(versions)) for number in range(CALLERS)]
        crew = {
            **{
                f"worker {number}": partial(harness.zygote.fork, "serve", limited=number > 0)
                for number in range(WORKERS)
            },
            "reconcile --all": partial(harness.zygote.fork, "reconcile_forever"),
        }
        at_work = {name: start() for name, start in crew.items()}
        for caller in callers:
            caller.start()
        most = max(DEATHS * times, deaths.total() + AT_ANY_MOMENT * times)
        while deaths.total() < most and all(caller.is_alive() for caller in callers):
            time.sleep(random.uniform(0, 0.06))
            name = random.choice(list(crew))
            kill(harness, name, at_work[name])
            at_work[name] = crew[name]()
        for caller in callers:
            caller.is_over.set()
        for caller in callers:
            caller.join()
        for name, worker in at_work.items():
            kill(harness, name, worker)
        responses = sum((caller.responses for caller in callers), Counter())
        print(
            f"\n{responses.total()} responses:",
            *(f"{count:5} {what}" for what, count in sorted(responses.items())),
            sep="\n",
        )
        assert [broken for caller in callers for broken in caller.broken] == []
        assert {
            "attach: 200",
            "attach: 202",
            "show: 200",
            "detach: 202",
            "attach: None",
            "detach: None",
        } <= responses.keys()
        harness.acknowledged = {each: True for caller in callers for each in caller.attached.items()}
        harness.check()
        harness.wait_for_sessions()
        time.sleep(STALE_AFTER + 1)
        harness.check_reconciled()
        harness.check_usable()
        assert deaths.total() >= DEATHS * times


def kill(harness: Harness, name: str, worker: Worker) -> None:
    worker.kill()
    assert worker.wait() == KILLED, harness.log()
    harness.deaths[f"{name.rstrip('0123456789 ')}: any moment"] += 1
