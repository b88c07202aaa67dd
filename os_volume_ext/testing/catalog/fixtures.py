"""What the tests of a catalog need: what its author declares and provides, and what is derived from that."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

import pytest

from ...catalog.base import (
    CatalogUnavailable,
    Database,
    RegistryUnavailable,
    RequestContext,
    Volume,
    VolumeCatalog,
    VolumeNotFound,
)
from ...context import operator_context
from ..absent import Absent
from ..declarations import CheckedDeclarations
from ..expectations import must_raise, must_succeed

LOOK_UPS = ("volume", "recheck")
"""The methods that return a volume."""

HOSTILE_IDS = (
    "",
    ".",
    "..",
    "../escape",
    "/",
    "a/b",
    "?all=1",
    "#",
    "%",
    "%2e%2e",
    "*",
    "nul\0byte",
    "line\nbreak",
    "-option",
    "' OR ''='",
    "\udcff",
    "x" * 300,
)
"""Ids that no volume has, and that must do no harm."""

SERVER, OTHER_SERVER = "1c6a2b2e-61b9-4f0e-8a3e-5b0f2f0b9a01", "7f1f8f37-0c55-4f0c-9a5d-2f4a3a1f6c02"

ROUNDS = 20
"""How often a race is run."""


class CatalogFixtures(CheckedDeclarations):
    """What the author of a catalog declares and provides, and the fixtures derived from that."""

    attributes = ("catalog_class", "can_delete", "multiattach")
    fixtures = ("options", "new_volume", "remove_volume")
    absent_fixtures = ("wrong_options", "change_volume", "outage", "stall", "attach")

    catalog_class: type[VolumeCatalog]
    """The catalog under test."""

    can_delete: bool
    """Whether the catalog with these options can delete volumes."""

    multiattach: bool
    """Whether the catalog can have multiattach volumes."""

    unavailable: type[CatalogUnavailable | RegistryUnavailable] = CatalogUnavailable
    """What the catalog raises if it can't be reached; RegistryUnavailable if it is in the registry's database."""

    # Fixtures that the plugin author overrides.

    @pytest.fixture
    def options(self) -> Mapping[str, str]:
        """Provide the ``catalog.*`` options, without that prefix."""
        raise NotImplementedError

    @pytest.fixture
    def new_volume(self) -> Callable[..., Volume]:
        """Provide ``new_volume(project_id, multiattach=False)``: add a volume to the storage of the catalog.

        It returns the volume as the catalog has to return it. Each has an id that is like no other, such as a UUID.
        """
        raise NotImplementedError

    @pytest.fixture
    def remove_volume(self) -> Callable[[Volume], None]:
        """Provide ``remove_volume(volume)``: remove a volume from the storage, and not through the catalog."""
        raise NotImplementedError

    # Absent("reason") for one that does not exist. Provide a real failure, not a fake, if possible.

    @pytest.fixture
    def change_volume(self) -> Callable[[Volume], Volume] | Absent:
        """Provide ``change_volume(volume)``: change a volume in the storage, and return it as it is then."""
        raise NotImplementedError

    @pytest.fixture
    def wrong_options(self) -> Sequence[tuple[str, str | None]] | Absent:
        """Provide names of options, each with a value that must be refused; None if it must not be left out."""
        raise NotImplementedError

    @pytest.fixture
    def outage(self) -> Callable[[], AbstractContextManager[None]] | Absent:
        """Provide ``outage()``: a context manager, in which the storage can't be reached and its volumes stay."""
        raise NotImplementedError

    @pytest.fixture
    def stall(self) -> Callable[[], AbstractContextManager[None]] | Absent:
        """Provide ``stall()``: a context manager, in which the storage accepts calls and does not respond.

        It is enough that one of the methods has to wait, such as for a lock.
        """
        raise NotImplementedError

    @pytest.fixture
    def attach(self) -> Callable[[str, Volume], None] | Absent:
        """Provide ``attach(server_id, volume)``: make the catalog see that a server has a volume."""
        raise NotImplementedError

    # What the author overrides if the values do not fit.

    @pytest.fixture
    def database(self, tmp_path: Path) -> Database:
        """Return the registry's database; override it if the catalog keeps its volumes there."""
        return Database({"url": f"sqlite:///{tmp_path}/registry.db"})

    @pytest.fixture
    def project_id(self) -> str:
        """Return the project of the caller."""
        return "demo"

    @pytest.fixture
    def other_project_id(self) -> str:
        """Return another project."""
        return "other"

    @pytest.fixture
    def context(self, project_id: str) -> RequestContext:
        """Return a caller of the API; override it if the catalog uses the caller's credentials."""
        credentials = {"user_id": "user", "project_id": project_id, "roles": ["member", "reader"], "is_admin": False}
        return RequestContext("req-contract", MappingProxyType(credentials), lambda *_: True)

    # Fixtures and helpers derived from these.

    @pytest.fixture
    def new_catalog(self, options: Mapping[str, str], database: Database) -> Callable[[], VolumeCatalog]:
        """Return a function that makes a catalog with these options, as each process does."""
        return lambda: self.catalog_class(dict(options), database)

    @pytest.fixture
    def catalog(self, new_catalog: Callable[[], VolumeCatalog]) -> VolumeCatalog:
        """Make the catalog under test."""
        return new_catalog()

    @pytest.fixture
    def new_volumes(self, new_volume: Callable[..., Volume], project_id: str) -> Callable[[int], list[Volume]]:
        """Return a function that adds so many volumes of the caller's project."""
        return lambda count: [new_volume(project_id) for _ in range(count)]

    @pytest.fixture
    def volume(self, new_volumes: Callable[[int], list[Volume]]) -> Volume:
        """Add one volume of the caller's project."""
        return new_volumes(1)[0]

    @pytest.fixture
    def deletes(self) -> None:
        """Skip the test if the catalog can't delete."""
        if not self.can_delete:
            pytest.skip("can_delete is False: delete is never called")


def look_up(catalog: VolumeCatalog, method: str, context: RequestContext, volume_id: str) -> Volume:
    """Return what ``volume`` or ``recheck`` returns; fail if it raises."""
    with must_succeed(f"{method} of volume {volume_id!r}"):
        found: Volume = getattr(catalog, method)(context, volume_id)
    return found


def assert_found(
    catalog: VolumeCatalog,
    volume: Volume,
    context: RequestContext | None = None,
    methods: Sequence[str] = LOOK_UPS,
    when: str = "",
) -> None:
    """Check that look-ups return a volume; the operator's, unless a context is given.

    :param when: what happened before, for the message.
    """
    for method in methods:
        found = look_up(catalog, method, context or operator_context(), volume.id)
        assert found == volume, f"{method} returned {found!r}, and the volume is {volume!r} {when}".rstrip()


def assert_not_found(
    catalog: VolumeCatalog,
    volume_id: str,
    context: RequestContext | None = None,
    methods: Sequence[str] = LOOK_UPS,
    when: str = "",
) -> None:
    """Check that look-ups do not find a volume; see ``assert_found``."""
    for method in methods:
        with must_raise(VolumeNotFound, f"{method} of volume {volume_id!r} {when}".rstrip()):
            getattr(catalog, method)(context or operator_context(), volume_id)


def must_delete(catalog: VolumeCatalog, volume: Volume, **which: str) -> None:
    """Delete a volume; fail if ``delete`` raises."""
    with must_succeed(f"delete of volume {volume.id!r}"):
        catalog.delete(volume_id=volume.id, **which)


def must_pass_check(catalog: VolumeCatalog) -> None:
    """Check a catalog; fail if ``check`` raises."""
    with must_succeed("check of a catalog that works"):
        catalog.check()
