"""The catalog contract: a good catalog passes every test, and each bad one fails the tests that it should."""

import inspect
import re
import shutil

import pytest

from os_volume_ext.testing import CatalogContract
from os_volume_ext.testing.declarations import COMPLETE
from tests.support.paths import TEMPLATES

PLUGIN = TEMPLATES / "catalog"

# The catalog of the page docs/catalog.rst, with one thing changed.
CHANGED = """
import fcntl
import inspect
import json
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from inventory import InventoryCatalog, find
from test_inventory import TestInventoryCatalog as Good

from os_volume_ext.catalog.base import (
    CatalogUnavailable, RegistryUnavailable, Volume, VolumeAttached, VolumeCatalog, VolumeNotFound,
)
from os_volume_ext.testing import Absent, CatalogContract


class Catalog(InventoryCatalog):
    pass
{body}

class TestIt(Good):
    catalog_class = Catalog
{attributes}
"""


@pytest.fixture
def outcomes(pytester):
    """Run the contract on a catalog, and return which tests passed, failed and were skipped."""
    for name in ("inventory.py", "test_inventory.py"):
        shutil.copy(PLUGIN / name, pytester.path)

    def run(body="", attributes="", only=""):
        pytester.makepyfile(test_it=CHANGED.format(body=body, attributes=attributes))
        result = pytester.inline_run("-p", "no:cacheprovider", "-p", "no:schemathesis", "-k", only, "test_it.py")
        passed, skipped, failed = result.listoutcomes()
        return {
            "passed": {_test(report) for report in passed},
            "skipped": {_test(report) for report in skipped},
            "failed": {_test(report) for report in failed},
            "reasons": "".join(str(report.longrepr) for report in [*failed, *skipped]),
            "messages": [report.longrepr.reprcrash.message for report in failed],
        }

    return run


def _test(report):
    return report.nodeid.rpartition("::")[2].partition("[")[0]


def contract():
    return {name for name, _ in inspect.getmembers(CatalogContract, inspect.isfunction) if name.startswith("test_")}


def test_a_subclass_runs_every_test_of_the_contract(outcomes):
    result = outcomes()
    assert (result["failed"], result["skipped"]) == (set(), set())
    assert result["passed"] == contract()


def test_a_catalog_that_can_not_delete_passes_without_the_tests_of_deletions(outcomes):
    result = outcomes("    can_delete = False\n    delete = VolumeCatalog.delete", "    can_delete = False", "delet")
    assert result["failed"] == set()
    assert "test_a_deleted_volume_is_not_found" in result["skipped"]


SOME = "declarations or own_project or deleted_volume"


@pytest.mark.parametrize("attribute", CatalogContract.attributes)
def test_a_missing_declaration_is_one_failure_that_names_it(outcomes, attribute):
    # The attribute of the example's own class is hidden, as if it had none.
    hidden = f"    @property\n    def {attribute}(self):\n        raise AttributeError"
    result = outcomes(attributes=hidden, only=SOME)
    assert (result["passed"], result["failed"]) == (set(), {COMPLETE})
    assert f"TestIt must declare {attribute}: see CatalogContract" in result["reasons"]


FIXTURES = (*CatalogContract.fixtures, *CatalogContract.absent_fixtures)


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_missing_fixture_is_one_failure_that_names_it(outcomes, fixture):
    inherited = f"    {fixture} = inspect.getattr_static(CatalogContract, '{fixture}')"
    result = outcomes(attributes=inherited, only=SOME)
    assert (result["passed"], result["failed"]) == (set(), {COMPLETE})
    assert f"TestIt must declare the fixture {fixture}: see CatalogContract" in result["reasons"]


@pytest.mark.parametrize("fixture", CatalogContract.absent_fixtures)
def test_what_is_absent_skips_its_tests_with_the_reason(outcomes, fixture):
    body = f"    @pytest.fixture\n    def {fixture}(self):\n        return Absent('there is none')"
    result = outcomes(attributes=body, only="wrong_option or changed or outage or response or attached or has")
    assert result["failed"] == set()
    assert result["skipped"]
    assert f"{fixture} is absent: there is none" in result["reasons"]


def test_a_fixture_that_returns_none_is_named(outcomes):
    result = outcomes(attributes="    @pytest.fixture\n    def outage(self):\n        return None", only="reached")
    assert 'outage returned None: return Absent("the reason")' in result["reasons"]


# What is wrong: the body of the class, and the tests that catch it.
BAD = {
    # -- options, and making a catalog
    "one without the method delete": (
        "    delete = VolumeCatalog.delete",
        {"test_it_is_a_catalog_that_deletes_as_declared"},
    ),
    "one that does not say that it can delete": (
        "    can_delete = False",
        {"test_it_is_a_catalog_that_deletes_as_declared"},
    ),
    "one that accepts any option": (
        """
    def __init__(self, options, database):
        super().__init__({name: options[name] for name in options if name == "path"}, database)
""",
        {"test_an_unknown_option_is_refused_by_its_name"},
    ),
    "one that raises KeyError for a missing option": (
        """
    def __init__(self, options, database):
        self.path = Path(options["path"])
""",
        {"test_a_missing_or_wrong_option_is_refused_by_its_name"},
    ),
    "one that does not check the value of an option": (
        """
    def __init__(self, options, database):
        super().__init__({**options, "path": os.path.abspath(options["path"])}, database)
""",
        {"test_a_missing_or_wrong_option_is_refused_by_its_name"},
    ),
    "one that changes the options": (
        """
    def __init__(self, options, database):
        options["path"] = options["path"].strip()
        super().__init__(options, database)
""",
        {"test_the_options_are_only_read"},
    ),
    "one that starts a thread in __init__": (
        """
    def __init__(self, options, database):
        super().__init__(options, database)
        threading.Thread(target=threading.Event().wait, args=(5,), daemon=True).start()
""",
        {"test_making_a_catalog_starts_no_thread"},
    ),
    "one that opens a file in __init__": (
        """
    def __init__(self, options, database):
        super().__init__(options, database)
        self.file = os.open(os.path.dirname(self.path), os.O_RDONLY)

    def __del__(self):
        os.close(self.file)
""",
        {"test_making_a_catalog_opens_nothing"},
    ),
    "one that works in the process that made it only": (
        """
    def __init__(self, options, database):
        super().__init__(options, database)
        self.process = os.getpid()

    def volume(self, context, volume_id):
        if os.getpid() != self.process:
            raise CatalogUnavailable("the connection is the parent's")
        return super().volume(context, volume_id)
""",
        {
            "test_a_catalog_made_before_a_fork_works_on_both_sides_of_it",
            "test_a_catalog_used_before_a_fork_works_on_both_sides_of_it",
        },
    ),
    "one that uses a connection of the parent": (
        """
    process = None

    def volume(self, context, volume_id):
        self.process = self.process or os.getpid()
        if os.getpid() != self.process:
            raise CatalogUnavailable("the connection is the parent's")
        return super().volume(context, volume_id)
""",
        {"test_a_catalog_used_before_a_fork_works_on_both_sides_of_it"},
    ),
    "one whose deletions work in the process of the first one only": (
        """
    process = None

    def delete(self, **which):
        self.process = self.process or os.getpid()
        if os.getpid() != self.process:
            raise CatalogUnavailable("the connection is the parent's")
        super().delete(**which)
""",
        {"test_a_catalog_used_before_a_fork_works_on_both_sides_of_it"},
    ),
    "one that shares an open file with forked processes": (
        """
    lock = threading.Lock()
    file = None

    def read(self):
        with self.lock:
            self.file = self.file or os.open(self.path, os.O_RDONLY)
            os.lseek(self.file, 0, os.SEEK_SET)
            text = b"".join(iter(lambda: os.read(self.file, 1), b""))
        try:
            return json.loads(text)
        except ValueError as error:
            raise CatalogUnavailable(f"it is no JSON: {error}")
""",
        {"test_look_ups_at_once_on_both_sides_of_a_fork_return_their_own"},
    ),
    # -- look-ups
    "one whose recheck returns nothing": (
        """
    def recheck(self, context, volume_id):
        super().volume(context, volume_id)
""",
        {
            "test_a_caller_finds_a_volume_of_the_own_project",
            "test_the_values_have_the_documented_types",
            "test_a_volume_that_does_not_change_is_returned_with_equal_values",
        },
    ),
    "one that shows volumes of the caller's project only": (
        """
    def volume(self, context, volume_id):
        volume = super().volume(context, volume_id)
        if volume.project_id != context.project_id:
            raise VolumeNotFound(volume_id)
        return volume
""",
        {"test_the_operator_finds_the_volumes_of_every_project"},
    ),
    "one that needs the caller's credentials": (
        """
    def volume(self, context, volume_id):
        context.credentials["user_id"]
        return super().volume(context, volume_id)
""",
        {"test_the_operator_finds_the_volumes_of_every_project"},
    ),
    "one that does not return multiattach": (
        """
    def volume(self, context, volume_id):
        return replace(super().volume(context, volume_id), multiattach=False)
""",
        {"test_whether_a_volume_is_multiattach_is_returned"},
    ),
    "one that makes up a size": (
        """
    def volume(self, context, volume_id):
        return replace(super().volume(context, volume_id), size=2**30)
""",
        {"test_the_size_of_a_volume_is_returned"},
    ),
    "one that returns a number for a boolean": (
        """
    def volume(self, context, volume_id):
        volume = super().volume(context, volume_id)
        return replace(volume, multiattach=int(volume.multiattach))
""",
        {"test_the_values_have_the_documented_types"},
    ),
    "one that returns another source each time": (
        """
    def volume(self, context, volume_id):
        volume = super().volume(context, volume_id)
        return replace(volume, source=f"{volume.source}?signature={time.monotonic_ns()}")
""",
        {"test_a_volume_that_does_not_change_is_returned_with_equal_values"},
    ),
    "one that caches volumes": (
        """
    cache = None

    def volume(self, context, volume_id):
        self.cache = self.cache or {}
        if volume_id not in self.cache:
            self.cache[volume_id] = super().volume(context, volume_id)
        return self.cache[volume_id]
""",
        {"test_a_changed_volume_is_returned_as_it_is_now", "test_a_removed_volume_is_not_found"},
    ),
    "one whose recheck does not look": (
        """
    def volume(self, context, volume_id):
        self.last = super().volume(context, volume_id)
        return self.last

    def recheck(self, context, volume_id):
        return self.last
""",
        {"test_a_changed_volume_is_returned_as_it_is_now", "test_a_removed_volume_is_not_found"},
    ),
    "one that finds volumes by the beginning of the id": (
        """
    def volume(self, context, volume_id):
        found = [each for each in self.read() if each.startswith(volume_id)]
        return replace(super().volume(context, found[0] if found else volume_id), id=volume_id)
""",
        {"test_an_id_is_compared_as_a_whole_and_exactly", "test_a_hostile_id_is_not_found"},
    ),
    "one that ignores case": (
        """
    def volume(self, context, volume_id):
        return super().volume(context, volume_id.lower())
""",
        {"test_an_id_is_compared_as_a_whole_and_exactly"},
    ),
    "one that ignores white space": (
        """
    def volume(self, context, volume_id):
        return super().volume(context, volume_id.strip())
""",
        {"test_an_id_is_compared_as_a_whole_and_exactly"},
    ),
    "one that makes a path of the id": (
        """
    def volume(self, context, volume_id):
        if (self.path.parent / volume_id).is_symlink() or "\\0" in volume_id:
            raise ValueError("embedded null byte")
        return super().volume(context, volume_id)
""",
        {"test_a_hostile_id_is_not_found"},
    ),
    "one that can not encode the id": (
        """
    def volume(self, context, volume_id):
        volume_id.encode()
        return super().volume(context, volume_id)
""",
        {"test_a_hostile_id_is_not_found"},
    ),
    "one that keeps the requested id in the object": (
        """
    def volume(self, context, volume_id):
        self.requested = volume_id
        time.sleep(0.001)
        return super().volume(context, self.requested)
""",
        {"test_threads_that_look_up_different_volumes_get_their_own"},
    ),
    "one that works in the thread of its first use only": (
        """
    owner = None

    def volume(self, context, volume_id):
        self.owner = self.owner or threading.get_ident()
        if threading.get_ident() != self.owner:
            raise CatalogUnavailable("the connection is of another thread")
        return super().volume(context, volume_id)
""",
        {"test_threads_that_look_up_different_volumes_get_their_own"},
    ),
    "one that opens a file at each call": (
        """
    files = ()

    def volume(self, context, volume_id):
        self.files = *self.files, self.path.open()
        return super().volume(context, volume_id)

    def __del__(self):
        for file in self.files:
            file.close()
""",
        {"test_many_calls_leave_no_thread_file_or_connection_behind"},
    ),
    "one that leaves a file open after a failure": (
        """
    files = ()

    def volume(self, context, volume_id):
        file = self.path.open()
        self.files = *self.files, file
        found = super().volume(context, volume_id)
        file.close()
        return found

    def __del__(self):
        for file in self.files:
            file.close()
""",
        {"test_many_calls_leave_no_thread_file_or_connection_behind"},
    ),
    "one that leaves a thread behind at each call": (
        """
    def volume(self, context, volume_id):
        threading.Thread(target=threading.Event().wait, args=(5,), daemon=True).start()
        return super().volume(context, volume_id)
""",
        {"test_many_calls_leave_no_thread_file_or_connection_behind"},
    ),
    "one that returns the caller's project": (
        """
    def volume(self, context, volume_id):
        volume = super().volume(context, volume_id)
        return replace(volume, project_id=context.project_id or volume.project_id)
""",
        {"test_a_volume_of_another_project_is_returned_as_such_or_not_found"},
    ),
    "one that knows the ids of its first look-up only": (
        """
    known = None

    def volume(self, context, volume_id):
        self.known = self.known or set(self.read())
        if volume_id not in self.known:
            raise VolumeNotFound(volume_id)
        return super().volume(context, volume_id)
""",
        {"test_a_volume_that_is_added_later_is_found"},
    ),
    "one that caches what recheck returned": (
        """
    def recheck(self, context, volume_id):
        self.cache = getattr(self, "cache", {})
        if volume_id not in self.cache:
            self.cache[volume_id] = super().volume(context, volume_id)
        return self.cache[volume_id]
""",
        {"test_a_changed_volume_is_returned_as_it_is_now", "test_a_removed_volume_is_not_found"},
    ),
    "one that finds volumes by all but the last character of the id": (
        """
    def volume(self, context, volume_id):
        found = [each for each in self.read() if volume_id and each[:-1] == volume_id[:-1]]
        return replace(super().volume(context, found[0] if found else volume_id), id=volume_id)
""",
        {"test_an_id_is_compared_as_a_whole_and_exactly"},
    ),
    # -- checks
    "one whose check raises": (
        """
    def check(self):
        raise CatalogUnavailable("there is no check")
""",
        {"test_a_catalog_that_works_passes_its_check"},
    ),
    "one whose check works before the first look-up only": (
        """
    looked = False

    def volume(self, context, volume_id):
        self.looked = True
        return super().volume(context, volume_id)

    def check(self):
        if self.looked:
            raise CatalogUnavailable("it is in use")
""",
        {"test_a_catalog_that_works_passes_its_check"},
    ),
    "one whose check tidies up": (
        """
    def check(self):
        self.write({})
""",
        {"test_a_check_changes_nothing"},
    ),
    "one whose check does not look": (
        """
    def check(self):
        pass
""",
        {"test_a_catalog_that_can_not_be_reached_is_unavailable"},
    ),
    "one whose check leaves a file open": (
        """
    files = ()

    def check(self):
        self.files = *self.files, self.path.open()

    def __del__(self):
        for file in self.files:
            file.close()
""",
        {"test_many_calls_leave_no_thread_file_or_connection_behind"},
    ),
    # -- failures
    "one that does not say why it is unavailable": (
        """
    def read(self):
        try:
            return super().read()
        except CatalogUnavailable as error:
            raise CatalogUnavailable("") from error
""",
        {"test_a_catalog_that_can_not_be_reached_is_unavailable"},
    ),
    "one that takes a missing file for an empty one": (
        """
    def read(self):
        try:
            return super().read()
        except CatalogUnavailable:
            return {}
""",
        {
            "test_a_catalog_that_can_not_be_reached_is_unavailable",
            "test_the_same_object_is_used_after_an_outage",
            "test_a_deletion_during_an_outage_is_repeated_after_it",
        },
    ),
    "one that raises what it got": (
        """
    def read(self):
        return json.loads(self.path.read_text())
""",
        {"test_a_catalog_that_can_not_be_reached_is_unavailable"},
    ),
    "one that raises what only a catalog in the registry's database may": (
        """
    def read(self):
        try:
            return super().read()
        except CatalogUnavailable as error:
            raise RegistryUnavailable(str(error))
""",
        {"test_a_catalog_that_can_not_be_reached_is_unavailable"},
    ),
    "one that leaves a connection open after a failure": (
        """
    opened = ()

    def read(self):
        try:
            return super().read()
        except CatalogUnavailable:
            self.opened = *self.opened, os.open(os.devnull, os.O_RDONLY)
            raise

    def __del__(self):
        for descriptor in self.opened:
            os.close(descriptor)
""",
        {"test_many_failed_calls_leave_no_thread_file_or_connection_behind"},
    ),
    "one that reads the file in __init__": (
        """
    def __init__(self, options, database):
        super().__init__(options, database)
        if options["path"].startswith("/"):
            self.read()
""",
        {"test_a_catalog_that_can_not_be_reached_can_be_made"},
    ),
    "one that remembers a failure": (
        """
    failed = False

    def read(self):
        try:
            if self.failed:
                raise CatalogUnavailable("it failed before")
            return super().read()
        except CatalogUnavailable:
            self.failed = True
            raise
""",
        {
            "test_the_same_object_is_used_after_an_outage",
            "test_a_deletion_during_an_outage_is_repeated_after_it",
        },
    ),
    "one that reports success in an outage": (
        """
    def delete(self, **which):
        try:
            super().delete(**which)
        except CatalogUnavailable:
            pass
""",
        {"test_a_deletion_during_an_outage_is_repeated_after_it"},
    ),
    # -- deletions
    "one that does not delete": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        find(self.read(), volume_id)
""",
        {
            "test_a_deleted_volume_is_not_found",
            "test_a_repeated_deletion_does_not_find_the_volume",
            "test_threads_that_delete_the_same_volume_succeed_or_do_not_find_it",
        },
    ),
    "one that deletes more than it should": (
        """
    def delete(self, **which):
        super().delete(**which)
        self.write({})
""",
        {"test_a_deletion_leaves_the_other_volumes"},
    ),
    "one that reports success for a missing volume": (
        """
    def delete(self, **which):
        try:
            super().delete(**which)
        except VolumeNotFound:
            pass
""",
        {
            "test_a_repeated_deletion_does_not_find_the_volume",
            "test_a_volume_of_another_project_is_not_deleted",
            "test_a_hostile_id_deletes_nothing",
        },
    ),
    "one that does not compare the project": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        super().delete(volume_id=volume_id, server_id=server_id)
""",
        {"test_a_volume_of_another_project_is_not_deleted"},
    ),
    "one that needs the project": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        super().delete(volume_id=volume_id, server_id=server_id, project_id=str(project_id))
""",
        {"test_a_deleted_volume_is_not_found"},
    ),
    "one that deletes a volume of a similar id": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        super().delete(volume_id=volume_id.strip(), server_id=server_id, project_id=project_id)
""",
        {"test_a_deletion_compares_the_id_as_a_whole_and_exactly"},
    ),
    "one that deletes a file of that id": (
        """
    def delete(self, **which):
        (self.path.parent / which["volume_id"]).unlink(missing_ok=True)
        super().delete(**which)
""",
        {"test_a_hostile_id_deletes_nothing"},
    ),
    "one that deletes what is attached": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        with self.locked():
            entries = self.read()
            find(entries, volume_id)
            del entries[volume_id]
            self.write(entries)
""",
        {
            "test_a_volume_that_another_server_has_is_not_deleted",
            "test_a_volume_that_another_server_has_too_is_not_deleted",
        },
    ),
    "one that keeps what only the deleted server has": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        super().delete(volume_id=volume_id, project_id=project_id)
""",
        {"test_a_volume_that_only_the_deleted_server_has_is_deleted"},
    ),
    "one that looks for the deleted server only": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        with self.locked():
            entries = self.read()
            servers = find(entries, volume_id)["servers"]
            if servers and server_id not in servers:
                raise VolumeAttached("to another server")
            del entries[volume_id]
            self.write(entries)
""",
        {"test_a_volume_that_another_server_has_too_is_not_deleted"},
    ),
    "one that looks for attachments before it locks": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        if find(self.read(), volume_id)["servers"]:
            raise VolumeAttached("to a server")
        time.sleep(0.02)
        with self.locked():
            entries = self.read()
            entries.pop(volume_id, None)
            self.write(entries)
""",
        {"test_no_deletion_succeeds_after_a_recheck_of_what_is_reserved"},
    ),
    "one that is surprised by another deletion": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        find(self.read(), volume_id)
        time.sleep(0.02)
        with self.locked():
            entries = self.read()
            del entries[volume_id]
            self.write(entries)
""",
        {"test_threads_that_delete_the_same_volume_succeed_or_do_not_find_it"},
    ),
    "one that leaves a file open when it deletes": (
        """
    files = ()

    def delete(self, **which):
        super().delete(**which)
        self.files = *self.files, self.path.open()

    def __del__(self):
        for file in self.files:
            file.close()
""",
        {"test_deletions_leave_no_thread_file_or_connection_behind"},
    ),
    "one that leaves a file open when it refuses a deletion": (
        """
    files = ()

    def delete(self, **which):
        try:
            super().delete(**which)
        except VolumeAttached:
            self.files = *self.files, self.path.open()
            raise

    def __del__(self):
        for file in self.files:
            file.close()
""",
        {"test_refused_deletions_leave_no_thread_file_or_connection_behind"},
    ),
    "one that looks for attachments a moment before it locks": (
        """
    def delete(self, *, volume_id, server_id=None, project_id=None):
        if find(self.read(), volume_id)["servers"]:
            raise VolumeAttached("to a server")
        time.sleep(0.01)
        with self.locked():
            entries = self.read()
            entries.pop(volume_id, None)
            self.write(entries)
""",
        {"test_no_deletion_that_is_held_up_succeeds_after_a_recheck_of_what_is_reserved"},
    ),
    "one whose lock outlives the process that has it": (
        """
    @contextmanager
    def locked(self):
        lock = self.path.with_suffix(".owner")
        deadline = time.monotonic() + 1
        while True:
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError as error:
                if time.monotonic() > deadline:
                    raise CatalogUnavailable(f"{lock} exists") from error
            time.sleep(0.001)
        try:
            yield
        finally:
            lock.unlink()
""",
        {"test_a_process_that_is_killed_in_a_deletion_holds_up_no_other"},
    ),
    "one without a lock": (
        """
    @contextmanager
    def locked(self):
        yield

    def write(self, entries):
        time.sleep(0.02)  # until others have read
        self.path.write_text(json.dumps(entries))
""",
        {
            "test_threads_that_delete_different_volumes_delete_them_all",
            "test_processes_that_delete_different_volumes_delete_them_all",
        },
    ),
    "one whose lock keeps out no other process": (
        """
    lock = threading.Lock()

    @contextmanager
    def locked(self):
        with self.lock:
            yield

    def write(self, entries):
        time.sleep(0.02)  # until others have read
        super().write(entries)
""",
        {"test_processes_that_delete_different_volumes_delete_them_all"},
    ),
    "one whose file is empty for a moment": (
        """
    def write(self, entries):
        with self.path.open("w") as file:
            time.sleep(0.02)
            json.dump(entries, file)
""",
        {"test_look_ups_during_deletions_find_what_stays"},
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_catalog_is_caught(outcomes, what):
    body, caught_by = BAD[what]
    result = outcomes(body, only=" or ".join(sorted(caught_by)))
    assert result["failed"] == caught_by
    for message in result["messages"]:
        assert re.match(r"(AssertionError: |Failed: )(?!assert )", message), f"this is not a sentence: {message}"


WAITS = "test_a_call_that_gets_no_response_ends_in_time"
# What is wrong with a catalog that has to wait, and what the test says.
WAITING = {
    "one that waits for ever": (
        """
    @contextmanager
    def locked(self):
        with self.opened_lock() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
""",
        "a call that got no response did not end within 1 seconds",
    ),
    "one that raises another exception in the end": (
        """
    @contextmanager
    def locked(self):
        raise TimeoutError
        yield
""",
        "TimeoutError",
    ),
    "one whose check waits for ever": (
        """
    def check(self):
        with self.opened_lock() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
""",
        "a call that got no response did not end within 1 seconds",
    ),
    "one that serves callers one after the other": (
        """
    turn = threading.Lock()

    @contextmanager
    def locked(self):
        with self.turn:
            time.sleep(0.4)
            with super().locked():
                yield
""",
        "a call that got no response did not end within 1 seconds",
    ),
    "one that is unavailable afterwards": (
        """
    @contextmanager
    def locked(self):
        self.path = Path("/nowhere")
        raise CatalogUnavailable("no response")
        yield
""",
        "CatalogUnavailable: catalog.path: /nowhere can't be read",
    ),
}


@pytest.mark.parametrize("what", WAITING)
def test_a_bad_catalog_that_gets_no_response_is_caught(outcomes, monkeypatch, what):
    body, reason = WAITING[what]
    monkeypatch.setattr("os_volume_ext.testing.catalog.failures.TIME_LIMIT", 1)
    result = outcomes(body, only=WAITS)
    assert result["failed"] == {WAITS}
    assert reason in result["reasons"]


def test_every_test_of_the_contract_catches_a_bad_catalog():
    assert {WAITS, COMPLETE}.union(*(caught_by for _, caught_by in BAD.values())) == contract()


def test_a_failing_assert_shows_the_compared_values(outcomes):
    body, _ = BAD["one that does not return multiattach"]
    assert "where False = Volume(" in outcomes(body, only="whether_a_volume_is_multiattach")["reasons"]


MESSAGES = {
    "one that raises what it got": (
        "test_a_catalog_that_can_not_be_reached_is_unavailable",
        "volume while the storage can't be reached raised FileNotFoundError(",
    ),
    "one that does not say why it is unavailable": (
        "test_a_catalog_that_can_not_be_reached_is_unavailable",
        "volume while the storage can't be reached raised CatalogUnavailable without a message",
    ),
    "one that caches volumes": (
        "test_a_removed_volume_is_not_found",
        "after it was removed raised nothing: it must raise VolumeNotFound",
    ),
    "one that knows the ids of its first look-up only": (
        "test_a_volume_that_is_added_later_is_found",
        "could not be found.'): it must succeed",
    ),
    "one that returns the caller's project": (
        "test_a_volume_of_another_project_is_returned_as_such_or_not_found",
        "which is not of the caller's project",
    ),
    "one that raises KeyError for a missing option": (
        "test_a_missing_or_wrong_option_is_refused_by_its_name",
        "making a catalog with the options {} raised KeyError('path'): it must raise ConfigurationError",
    ),
    "one whose check raises": (
        "test_a_catalog_that_works_passes_its_check",
        "check of a catalog that works raised CatalogUnavailable('there is no check'): it must succeed",
    ),
    "one that leaves a file open when it deletes": (
        "test_deletions_leave_no_thread_file_or_connection_behind",
        "after 8 rounds of deletions there are 8 files or connections more than before",
    ),
    "one whose lock outlives the process that has it": (
        "test_a_process_that_is_killed_in_a_deletion_holds_up_no_other",
        "delete after a process was killed in the middle of a deletion raised CatalogUnavailable(",
    ),
    "one that looks for attachments a moment before it locks": (
        "test_no_deletion_that_is_held_up_succeeds_after_a_recheck_of_what_is_reserved",
        "a volume was reserved, found again and deleted at the same time",
    ),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_failure_reads_as_a_sentence(outcomes, what):
    test, message = MESSAGES[what]
    assert any(message in each for each in outcomes(BAD[what][0], only=test)["messages"])
