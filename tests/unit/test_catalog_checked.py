"""What a catalog may return and raise, and what becomes of everything else."""

import contextlib
import logging

import pytest

from os_volume_ext.assembly import assemble
from os_volume_ext.catalog.base import CatalogUnavailable, VolumeAttached, VolumeCatalog, VolumeNotFound
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.context import operator_context
from os_volume_ext.errors import RegistryUnavailable, TransactionAborted
from os_volume_ext.models import Volume
from os_volume_ext.settings import Settings

VOLUME = Volume("9", "demo", "/srv/disk.img")

CALLS = {
    "volume": lambda catalog: catalog.volume(operator_context(), "9"),
    "recheck": lambda catalog: catalog.recheck(operator_context(), "9"),
    "delete": lambda catalog: catalog.delete(volume_id="9", server_id="1134", project_id="demo"),
    "check": lambda catalog: catalog.check(),
}
LOOK_UPS = ["volume", "recheck"]


class Plugin(VolumeCatalog):
    """A catalog whose methods return or raise the same."""

    can_delete = True

    def __init__(self, outcome):
        self.outcome = outcome
        self.calls = []

    def respond(self, *arguments, **keywords):
        self.calls.append(arguments[1:] or keywords)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    volume = recheck = delete = check = respond


@pytest.fixture
def checked(tmp_path):
    """Give ``checked(catalog)``: the catalog as the filter uses it."""
    options = {"backend": "directory", "backend.root": tmp_path, "database.url": f"sqlite:///{tmp_path}/x.db"}
    with contextlib.ExitStack() as stack:
        yield (
            lambda catalog: (
                stack.enter_context(contextlib.closing(assemble(Settings.parse(options), catalog=catalog))).catalog
            )
        )


@pytest.mark.parametrize("method", LOOK_UPS)
def test_a_volume_of_the_requested_id_is_returned(checked, method):
    plugin = Plugin(VOLUME)
    assert CALLS[method](checked(plugin)) is VOLUME
    assert plugin.calls == [("9",)]


def test_a_deletion_names_volume_server_and_project(checked):
    plugin = Plugin(None)
    CALLS["delete"](checked(plugin))
    assert plugin.calls == [{"volume_id": "9", "server_id": "1134", "project_id": "demo"}]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "9",
        {"id": "9"},
        Volume("10", "demo"),
        Volume("9", None),
        Volume(9, "demo"),
        Volume("9", "demo", b"/srv/disk.img"),
        Volume("9", "demo", format=1),
        Volume("9", "demo", multiattach="False"),
        Volume("9", "demo", multiattach=None),
        Volume("9", "demo", size=0),
        Volume("9", "demo", size=-1),
        Volume("9", "demo", size=True),
        Volume("9", "demo", size=2.0),
        Volume("9", "demo", size="1"),
    ],
)
@pytest.mark.parametrize("method", LOOK_UPS)
def test_any_other_value_is_unavailable_and_logged_with_the_class(checked, caplog, method, value):
    with pytest.raises(CatalogUnavailable):
        CALLS[method](checked(Plugin(value)))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{Plugin.__module__}.Plugin.{method} returned an invalid value for volume 9" in record.getMessage()


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), NotImplementedError(), KeyError("9")])
@pytest.mark.parametrize("method", CALLS)
def test_any_other_exception_is_unavailable_and_logged_with_the_class(checked, caplog, method, error):
    with pytest.raises(CatalogUnavailable) as raised:
        CALLS[method](checked(Plugin(error)))
    (record,) = caplog.records
    assert record.exc_info[1] is raised.value.__cause__ is error
    assert f"{Plugin.__module__}.Plugin.{method} raised" in record.getMessage()


def test_only_a_deletion_may_find_the_volume_attached(checked):
    error = VolumeAttached("to another server")
    for method in LOOK_UPS:
        with pytest.raises(CatalogUnavailable):
            CALLS[method](checked(Plugin(error)))
    with pytest.raises(VolumeAttached):
        CALLS["delete"](checked(Plugin(error)))


def test_a_check_does_not_find_or_miss_volumes(checked):
    with pytest.raises(CatalogUnavailable):
        CALLS["check"](checked(Plugin(VolumeNotFound("9"))))


DOCUMENTED = [(method, CatalogUnavailable("down")) for method in CALLS]
DOCUMENTED += [(method, VolumeNotFound("9")) for method in CALLS if method != "check"]


@pytest.mark.parametrize(("method", "error"), DOCUMENTED)
def test_a_documented_exception_passes_and_is_not_logged(checked, caplog, method, error):
    with pytest.raises(type(error)) as raised:
        CALLS[method](checked(Plugin(error)))
    assert raised.value is error
    assert caplog.records == []


@pytest.mark.parametrize("error", [RegistryUnavailable("gone away"), TransactionAborted("deadlock")])
@pytest.mark.parametrize("method", CALLS)
def test_a_failing_database_is_unavailable_and_no_error_of_the_catalog(checked, caplog, method, error):
    unavailable = CatalogUnavailable if method == "delete" else RegistryUnavailable
    with pytest.raises(unavailable, match=str(error)):
        CALLS[method](checked(Plugin(error)))
    assert caplog.records == []


def test_an_interrupt_passes(checked):
    with pytest.raises(KeyboardInterrupt):
        CALLS["volume"](checked(Plugin(KeyboardInterrupt())))


@pytest.mark.parametrize("can_delete", [False, True])
def test_whether_volumes_can_be_deleted_depends_on_the_catalog(checked, can_delete):
    plugin = Plugin(VOLUME)
    plugin.can_delete = can_delete
    assert checked(plugin).can_delete is can_delete


def test_the_catalog_that_the_settings_name_is_checked_too(checked, monkeypatch):
    monkeypatch.setattr(SQLCatalog, "volume", lambda *_: None)
    with pytest.raises(CatalogUnavailable):
        CALLS["volume"](checked(None))
