"""The sql catalog passes the tests that every catalog has to pass, on each kind of database."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.engine import URL, make_url

from os_volume_ext.catalog.base import RegistryUnavailable, Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.models import ATTACHING, Attachment, new_id
from os_volume_ext.registry import sqlite
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import volumes
from os_volume_ext.testing import Absent, CatalogContract
from tests.support.databases import direct_connection
from tests.support.proxy import Proxy

SHORT = {"connect_timeout": "2", "read_timeout": "1"}  # so that a test does not wait as long as callers would


@pytest.fixture
def target(url: str) -> URL:
    """Give the URL of the database, without a proxy."""
    return make_url(url)


@pytest.fixture
def proxy(target: URL) -> Iterator[Proxy | None]:
    """Give a proxy in front of the database; None for SQLite."""
    if target.host is None:
        yield None
        return
    proxy = Proxy(target.host, target.port)
    yield proxy
    proxy.refuse()


@pytest.fixture
def behind(target: URL) -> Iterator[Database]:
    """Give the database, which stays reachable in an outage."""
    database = Database({"url": target.render_as_string(hide_password=False)})
    yield database
    database.dispose()


@contextlib.contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """Move a file away, and back at the end."""
    elsewhere = path.with_suffix(".unmounted")
    path.rename(elsewhere)
    yield
    elsewhere.rename(path)


@contextlib.contextmanager
def while_down(proxy: Proxy, how: Callable[[], None]) -> Iterator[None]:
    """Let a proxy refuse or hang meanwhile."""
    how()
    yield
    proxy.come_back()


class TestSQLCatalog(CatalogContract):
    """What SQLCatalog can do, and how its storage is changed and fails."""

    catalog_class = SQLCatalog
    can_delete = True
    multiattach = True
    unavailable = RegistryUnavailable

    @pytest.fixture
    def options(self) -> Mapping[str, str]:
        return {}

    @pytest.fixture
    def wrong_options(self) -> Absent:
        return Absent("the sql catalog has no options")

    @pytest.fixture
    def database(self, request: pytest.FixtureRequest, target: URL, proxy: Proxy | None) -> Iterator[Database]:
        # Deletions at once may take longer than a second while other tests keep the disk busy.
        timeouts = SHORT if "stall" in request.fixturenames else {}
        url = target.set(port=proxy.port).update_query_dict(timeouts) if proxy else target
        database = Database({"url": url.render_as_string(hide_password=False)})
        yield database
        database.dispose()

    @pytest.fixture
    def new_volume(self, behind: Database) -> Callable[..., Volume]:
        def new_volume(project_id: str, multiattach: bool = False) -> Volume:
            volume = Volume(new_id(), project_id, "/srv/disk.img", "raw", multiattach)
            SQLCatalog({}, behind).create(volume)
            return volume

        return new_volume

    @pytest.fixture
    def remove_volume(self, behind: Database) -> Callable[[Volume], None]:
        return lambda volume: SQLCatalog({}, behind).delete(volume_id=volume.id)

    @pytest.fixture
    def change_volume(self, behind: Database) -> Callable[[Volume], Volume]:
        def change_volume(volume: Volume) -> Volume:
            with direct_connection(behind) as connection:
                connection.execute(update(volumes).where(volumes.c.id == volume.id).values(format="qcow2"))
            return replace(volume, format="qcow2")

        return change_volume

    @pytest.fixture
    def attach(self, behind: Database) -> Callable[[str, Volume], None]:
        def attach(server_id: str, volume: Volume) -> None:
            exclusive = not volume.multiattach
            row = Attachment(
                volume.id, server_id, "demo", exclusive, None, False, ATTACHING, "req-1", None, None, None, None
            )
            Registry(behind).reserve(row)

        return attach

    @pytest.fixture
    def outage(self, target: URL, proxy: Proxy | None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
        if proxy is None:
            monkeypatch.setattr(sqlite, "CHECK_INTERVAL", 0)
            return lambda: moved_away(Path(str(target.database)))
        return lambda: while_down(proxy, proxy.refuse)

    @pytest.fixture
    def stall(self, behind: Database, proxy: Proxy | None) -> Callable[[], Any]:
        if proxy is None:
            return lambda: direct_connection(behind)  # SQLite has one writer at a time
        return lambda: while_down(proxy, proxy.hang)
