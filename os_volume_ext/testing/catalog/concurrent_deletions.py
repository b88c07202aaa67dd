"""Deletions at once, in threads and in processes, and in a process that is killed."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from ...catalog.base import RequestContext, Volume, VolumeAttached, VolumeCatalog, VolumeNotFound
from ..expectations import must_succeed
from ..rival import call_while_held_up, delays, remote, seconds
from ..running import repeated_in_child, run_at_once, run_in_children
from .fixtures import ROUNDS, SERVER, CatalogFixtures, assert_found, assert_not_found, must_delete

TIMED = 5
"""How many deletions to time; the first ones open what later ones use."""

KILLED = 5
"""How many processes to kill in the middle of a deletion, and how many volumes each of them deletes."""


class ConcurrentDeletions(CatalogFixtures):
    """Test deletions that come at once, where the catalog can delete."""

    def test_threads_that_delete_the_same_volume_succeed_or_do_not_find_it(
        self, deletes, catalog, context, new_volumes
    ):
        for volume in new_volumes(ROUNDS):
            deleted = run_at_once([partial(_delete, catalog, volume)] * 4)
            assert any(deleted), "every one of the deletions did not find the volume, which existed"
            assert_not_found(catalog, volume.id, context, when="after deletions that came at once")

    def test_threads_that_delete_different_volumes_delete_them_all(self, deletes, catalog, context, new_volumes):
        staying, *going = new_volumes(9)
        run_at_once([partial(must_delete, catalog, each) for each in going])
        _assert_deleted(catalog, context, going, staying)

    def test_look_ups_during_deletions_find_what_stays(self, deletes, catalog, context, new_volumes):
        staying, *going = new_volumes(9)
        done = threading.Event()

        def delete():
            try:
                for volume in going:
                    must_delete(catalog, volume)
            finally:
                done.set()

        def look():
            while not done.is_set():
                assert_found(catalog, staying, context, when="during deletions of others")
                time.sleep(0.002)  # leaves the storage to the deletions, too

        run_at_once([delete, *[look] * 2])

    def test_processes_that_delete_different_volumes_delete_them_all(self, deletes, new_catalog, context, new_volumes):
        staying, *going = new_volumes(9)
        run_in_children([partial(must_delete, new_catalog(), each) for each in going])
        _assert_deleted(new_catalog(), context, going, staying)

    def test_a_process_that_is_killed_in_a_deletion_holds_up_no_other(self, deletes, new_catalog, context, new_volumes):
        catalog = new_catalog()
        staying, *timed = new_volumes(1 + TIMED)
        duration = min(seconds(partial(must_delete, catalog, each)) for each in timed)
        for number in range(KILLED):
            volumes = new_volumes(KILLED)
            with repeated_in_child(partial(_delete_next, new_catalog(), iter(volumes))):
                time.sleep(duration * (number + 0.5))
            for volume in volumes:
                with must_succeed("delete after a process was killed in the middle of a deletion", VolumeNotFound):
                    catalog.delete(volume_id=volume.id)
            _assert_deleted(catalog, context, volumes, staying)

    # Attachments at the same time.

    def test_no_deletion_succeeds_after_a_recheck_of_what_is_reserved(
        self, deletes, new_catalog, context, new_volumes, attach
    ):
        for volume in new_volumes(ROUNDS):
            reserve = partial(_reserve, attach, new_catalog(), context, volume)
            _assert_either(*run_at_once([reserve, partial(_delete, new_catalog(), volume)]))

    def test_no_deletion_that_is_held_up_succeeds_after_a_recheck_of_what_is_reserved(
        self, deletes, catalog, new_catalog, context, new_volumes, attach
    ):
        with remote(lambda: partial(_delete, new_catalog())) as other:
            duration = min(seconds(partial(other.run, each)) for each in new_volumes(TIMED))
            for delay in delays(duration):
                (volume,) = new_volumes(1)
                other.start(volume)
                time.sleep(delay)
                reserve = partial(_reserve, attach, catalog, context, volume)
                _assert_either(call_while_held_up(other, reserve, duration), other.result())


def _assert_deleted(catalog: VolumeCatalog, context: RequestContext, going: list[Volume], staying: Volume) -> None:
    """Check that concurrent deletions have deleted these, and nothing else."""
    assert_found(catalog, staying, context, when="after deletions of others")
    for volume in going:
        assert_not_found(catalog, volume.id, context, when="after deletions of several volumes")


def _assert_either(is_found: bool, is_deleted: bool) -> None:
    assert is_found != is_deleted, (
        f"a volume was reserved, {'found again' if is_found else 'not found again'} and "
        f"{'deleted' if is_deleted else 'not deleted'} at the same time"
    )


def _reserve(
    attach: Callable[[str, Volume], None], catalog: VolumeCatalog, context: RequestContext, volume: Volume
) -> bool:
    """Reserve an attachment, and return whether the volume is found then."""
    attach(SERVER, volume)
    with must_succeed(f"recheck of volume {volume.id!r}", VolumeNotFound) as missing:
        catalog.recheck(context, volume.id)
    return missing.error is None


def _delete(catalog: VolumeCatalog, volume: Volume) -> bool:
    """Return whether a deletion succeeds; it may also find that there is no such volume, or that a server has it."""
    with must_succeed(f"delete of volume {volume.id!r}", VolumeNotFound, VolumeAttached) as refused:
        catalog.delete(volume_id=volume.id)
    return refused.error is None


def _delete_next(catalog: VolumeCatalog, volumes: Iterator[Volume]) -> bool:
    return _delete(catalog, next(volumes))
