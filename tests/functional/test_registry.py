"""The registry over real databases: what they themselves promise, and what the changes compare."""

import dataclasses
import datetime
import logging
import multiprocessing
import shutil
import threading
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import delete, event, insert, update
from sqlalchemy.engine import Engine, make_url

from os_volume_ext.errors import (
    AlreadyReserved,
    AttachmentLimitReached,
    ConstraintViolated,
    RegistryUnavailable,
    TransactionAborted,
)
from os_volume_ext.models import (
    ATTACHED,
    ATTACHING,
    DETACHING,
    REATTACHING,
    STATES,
    AttachmentDetail,
    AttachmentSummary,
)
from os_volume_ext.registry import execution, schema, sqlite
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import ATTEMPTS, Database, retry_on_deadlock
from os_volume_ext.registry.sqlite import BUSY_TIMEOUT
from os_volume_ext.registry.tables import attachments as table
from os_volume_ext.registry.tables import server_locks
from tests.support.databases import direct_connection, nanoseconds
from tests.support.rows import attachment
from tests.support.threads import in_threads
from tests.support.waiting import TIMEOUT


@pytest.fixture
def registry(database):
    return Registry(database)


def change(database, row, **values):
    """Change a row behind everybody's back."""
    here = (table.c.volume_id == row.volume_id) & (table.c.server_id == row.server_id)
    with direct_connection(database) as connection:
        assert connection.execute(update(table).where(here).values(**values)).rowcount == 1


def fill(database, rows):
    made = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    with direct_connection(database) as connection:
        connection.execute(
            insert(table),
            [
                {
                    "volume_id": row.volume_id,
                    "server_id": row.server_id,
                    "id": row.id,
                    "project_id": row.project_id,
                    "exclusive_volume_id": row.volume_id if row.exclusive else None,
                    "root": row.root,
                    "delete_on_termination": row.delete_on_termination,
                    "state": row.state,
                    "request_id": row.request_id,
                    "claim_id": row.claim_id,
                    "created_at": made,
                    "updated_at": made,
                }
                for row in rows
            ],
        )


# -- what is stored --------------------------------------------------------------------------------


def test_a_reserved_row_is_read_as_it_was_written(registry):
    wanted = attachment(
        device="/dev/vdc", root=True, host="node-1", instance_name="instance-1", source="/a/file", format="raw"
    )
    registry.reserve(wanted)
    found = registry.get("1134", "9")
    assert dataclasses.replace(found, created_at=None, updated_at=None, age=0.0) == wanted
    assert found.created_at.tzinfo == datetime.UTC


def test_a_row_that_is_not_there_is_none(registry):
    assert registry.get("1134", "9") is None


def test_a_row_keeps_the_server_and_the_volume_as_they_were(registry):
    registry.reserve(attachment(host="node-1", instance_name="i-1", source="/a/file", format="raw", exclusive=False))
    found = registry.get("1134", "9")
    assert (found.server.id, found.server.host, found.server.instance_name) == ("1134", "node-1", "i-1")
    assert (found.volume.id, found.volume.source, found.volume.format) == ("9", "/a/file", "raw")
    assert found.volume.multiattach


def test_microseconds_are_kept(registry, database):
    registry.reserve(attachment())
    moment = datetime.datetime(2026, 3, 4, 5, 6, 7, 123456, datetime.UTC)
    change(database, attachment(), created_at=moment, updated_at=moment)
    found = registry.get("1134", "9")
    assert (found.created_at, found.updated_at) == (moment, moment)


def test_a_time_of_another_zone_is_stored_as_utc(registry, database):
    registry.reserve(attachment())
    zone = datetime.timezone(datetime.timedelta(hours=2))
    change(database, attachment(), created_at=datetime.datetime(2026, 1, 1, 1, 30, tzinfo=zone))
    assert registry.get("1134", "9").created_at == datetime.datetime(2025, 12, 31, 23, 30, tzinfo=datetime.UTC)


def test_a_time_without_a_zone_is_refused(registry):
    with pytest.raises(Exception, match=r"datetime\(2026, 1, 1, 0, 0\) has no time zone"):
        registry.list_visible("1134", since=datetime.datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("one", "other"), [("a", "A"), ("a", "a "), ("a", "á"), ("ß", "ss"), ("a", "a\N{COMBINING ACUTE ACCENT}")]
)
def test_ids_are_the_same_only_byte_by_byte(registry, one, other):
    for text in (one, other):
        registry.reserve(attachment(text, text, device=text, request_id=text, claim_id=text))
    registry.reserve(attachment("b", one, device=other))
    assert registry.get(other, one) is None
    assert registry.get(one, one).request_id == one
    assert [row.volume_id for row in registry.find(volume_id=other)] == [other]
    seen = registry.get(one, one)
    other_claim = dataclasses.replace(seen, claim_id=other)
    assert registry.claim(other_claim, other_claim.claimed(DETACHING, "req-2")) is False
    assert registry.remove(seen)
    assert registry.get(other, other).request_id == other


@pytest.mark.parametrize("letter", ["9", "\N{PILE OF POO}"])
def test_texts_may_be_as_long_as_their_columns(registry, letter):
    lengths = {column.name: column.type.length for column in table.columns if hasattr(column.type, "length")}
    values = {name: letter * lengths[name] for name in lengths if name not in ("exclusive_volume_id", "state")}
    registry.reserve(attachment(**values))
    found = registry.get(values["volume_id"], values["server_id"])
    assert {name: getattr(found, name) for name in values} == values


# -- conflicting rows -------------------------------------------------------------------------------


def test_a_volume_is_reserved_once_on_a_server(registry):
    registry.reserve(attachment())
    with pytest.raises(AlreadyReserved):
        registry.reserve(attachment(request_id="req-2"))
    assert registry.get("1134", "9").request_id == "req-1"


def test_a_volume_is_reserved_on_one_server(registry):
    registry.reserve(attachment())
    with pytest.raises(AlreadyReserved):
        registry.reserve(attachment(server_id="1135"))


def test_a_multiattach_volume_is_reserved_on_several_servers(registry):
    for server_id in ("1134", "1135", "1136"):
        registry.reserve(attachment(server_id=server_id, exclusive=False))
    assert len(registry.of_volume("9")) == 3


def test_a_multiattach_volume_is_reserved_once_on_each_server(registry):
    registry.reserve(attachment(exclusive=False))
    with pytest.raises(AlreadyReserved):
        registry.reserve(attachment(exclusive=False, request_id="req-2"))


def test_a_device_of_a_server_is_reserved_once(registry):
    registry.reserve(attachment(device="/dev/vdb"))
    with pytest.raises(AlreadyReserved):
        registry.reserve(attachment("10", device="/dev/vdb"))


def test_servers_have_devices_of_the_same_name(registry):
    registry.reserve(attachment(device="/dev/vdb"))
    registry.reserve(attachment("10", "1135", device="/dev/vdb"))
    assert [(row.server_id, row.device) for row in registry.walk()] == [("1134", "/dev/vdb"), ("1135", "/dev/vdb")]


def test_unknown_devices_do_not_conflict(registry):
    registry.reserve(attachment())
    registry.reserve(attachment("10"))
    assert {row.volume_id: row.device for row in registry.walk()} == {"9": None, "10": None}


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (attachment(), attachment(request_id="req-2")),
        (attachment(), attachment(server_id="1135")),
        (attachment(device="/dev/vdb"), attachment("10", device="/dev/vdb")),
        (attachment(exclusive=False), attachment(exclusive=False, request_id="req-2")),
    ],
    ids=["the same", "the volume elsewhere", "the device", "the same multiattach volume"],
)
def test_the_row_in_the_way_is_found(registry, there, wanted):
    registry.reserve(there)
    found = registry.find_conflicting(wanted)
    assert (found.volume_id, found.server_id) == (there.volume_id, there.server_id)


def test_a_multiattach_volumes_row_elsewhere_is_not_in_the_way(registry):
    registry.reserve(attachment(exclusive=False))
    assert registry.find_conflicting(attachment(server_id="1135", exclusive=False)) is None


def test_nothing_is_in_the_way_when_the_row_is_gone(registry):
    assert registry.find_conflicting(attachment(device="/dev/vdb")) is None


# -- compare and set -------------------------------------------------------------------------------


def test_a_claim_changes_state_request_and_time(registry, database):
    registry.reserve(attachment())
    change(database, attachment(), updated_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    before = registry.get("1134", "9")
    claimed = before.claimed(DETACHING, "req-2")
    assert registry.claim(before, claimed)
    after = registry.get("1134", "9")
    assert (after.state, after.request_id, after.claim_id) == (DETACHING, "req-2", claimed.claim_id)
    assert after.age < 1000 < before.age
    assert after.created_at == before.created_at


@pytest.mark.parametrize("other", [{"state": DETACHING}, {"claim_id": "another"}])
@pytest.mark.parametrize(
    "act",
    [
        lambda registry, seen: registry.claim(seen, seen.claimed(ATTACHED, "req-3")),
        lambda registry, seen: registry.restore(seen, seen),
        lambda registry, seen: registry.restamp(seen),
        lambda registry, seen: registry.confirm(seen, "/dev/vdb"),
        lambda registry, seen: registry.remove(seen),
        lambda registry, seen: registry.transfer(seen, attachment(server_id="1135")),
    ],
    ids=["claim", "restore", "restamp", "confirm", "remove", "transfer"],
)
def test_a_row_that_is_not_as_it_was_seen_is_not_changed(registry, database, act, other):
    registry.reserve(attachment())
    seen = registry.get("1134", "9")
    change(database, attachment(), **other)
    now = registry.get("1134", "9")
    assert act(registry, seen) is False
    assert dataclasses.replace(registry.get("1134", "9"), age=0) == dataclasses.replace(now, age=0)
    assert registry.count() == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda registry, seen: registry.claim(seen, seen.claimed(DETACHING, "req-3")),
        lambda registry, seen: registry.restore(seen, seen),
        lambda registry, seen: registry.restamp(seen),
        lambda registry, seen: registry.confirm(seen, None),
        lambda registry, seen: registry.remove(seen),
        lambda registry, seen: registry.transfer(seen, attachment(server_id="1135")),
    ],
    ids=["claim", "restore", "restamp", "confirm", "remove", "transfer"],
)
def test_a_row_that_is_gone_is_not_changed(registry, act):
    assert act(registry, attachment()) is False
    assert registry.count() == 0


@pytest.mark.parametrize(
    "act",
    [
        lambda registry, seen: registry.claim(seen, seen.claimed(DETACHING, "req-3")),
        lambda registry, seen: registry.restore(seen, seen),
        lambda registry, seen: registry.restamp(seen),
        lambda registry, seen: registry.confirm(seen, None),
        lambda registry, seen: registry.remove(seen),
        lambda registry, seen: registry.transfer(seen, attachment(server_id="1136", exclusive=False)),
    ],
    ids=["claim", "restore", "restamp", "confirm", "remove", "transfer"],
)
def test_a_change_touches_no_other_row_of_the_volume(registry, act):
    registry.reserve(attachment(exclusive=False))
    registry.reserve(attachment(server_id="1135", exclusive=False))
    assert act(registry, registry.get("1134", "9")) is True
    assert registry.get("1135", "9").state == ATTACHING


def test_a_confirmed_row_is_attached_at_its_device(registry):
    registry.reserve(attachment())
    assert registry.confirm(registry.get("1134", "9"), "/dev/vdb")
    found = registry.get("1134", "9")
    assert (found.state, found.device, found.request_id) == (ATTACHED, "/dev/vdb", "req-1")


def unaged(row):
    return dataclasses.replace(row, age=0, updated_at=None)


@pytest.mark.parametrize("state", STATES)
def test_a_row_that_is_confirmed_at_a_device_takes_it_from_the_row_that_had_it(registry, state, caplog):
    caplog.set_level(logging.INFO)
    for volume_id, server_id, device in (
        ("9", "1134", "/dev/vdb"),
        ("10", "1134", "/dev/vdc"),
        ("11", "1135", "/dev/vdb"),
    ):
        registry.reserve(attachment(volume_id, server_id, state=state, device=device))
    registry.reserve(attachment("12"))
    rows = {row.volume_id: unaged(row) for row in registry.find()}
    assert registry.confirm(registry.get("1134", "12"), "/dev/vdb") is True
    taken = "req-1 volume 12 took device /dev/vdb of server 1134 from another row"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", taken)]
    rows["9"] = dataclasses.replace(rows["9"], device=None)
    rows["12"] = dataclasses.replace(rows["12"], device="/dev/vdb", state=ATTACHED)
    assert {row.volume_id: unaged(row) for row in registry.find()} == rows


def test_a_row_that_has_changed_takes_no_device_from_another(registry):
    registry.reserve(attachment(device="/dev/vdb"))
    registry.reserve(attachment("10"))
    seen = registry.get("1134", "10")
    registry.claim(seen, seen.claimed(DETACHING, "req-2"))
    before = registry.find()
    assert registry.confirm(seen, "/dev/vdb") is False
    assert [unaged(row) for row in registry.find()] == [unaged(row) for row in before]


def test_a_row_that_changes_while_it_takes_a_device_does_not_get_it(registry, database, monkeypatch):
    """Another claims the row after its first attempt has found the device taken."""
    registry.reserve(attachment("10", device="/dev/vdb"))
    registry.reserve(attachment())
    seen, transaction = registry.get("1134", "9"), database.transaction

    def claim_before():
        monkeypatch.setattr(database, "transaction", transaction)
        assert registry.claim(seen, seen.claimed(DETACHING, "req-2"))
        return transaction()

    monkeypatch.setattr(database, "transaction", claim_before)
    assert registry.confirm(seen, "/dev/vdb") is False
    assert {row.volume_id: row.device for row in registry.find()} == {"9": None, "10": "/dev/vdb"}


def test_a_device_that_is_reserved_again_and_again_is_given_up(registry, database, monkeypatch):
    registry.reserve(attachment("10", device="/dev/vdb"))
    registry.reserve(attachment())
    tries = []

    @contextmanager
    def reserved_meanwhile():
        tries.append(None)
        raise ConstraintViolated("UNIQUE constraint failed")
        yield

    monkeypatch.setattr(database, "transaction", reserved_meanwhile)
    with pytest.raises(TransactionAborted, match=r"^/dev/vdb of server 1134 is reserved again and again$"):
        registry.confirm(registry.get("1134", "9"), "/dev/vdb")
    assert len(tries) == ATTEMPTS


@pytest.mark.parametrize(
    "call",
    [
        lambda registry, row: registry.reserve(dataclasses.replace(row, volume_id="10"), limit=5),
        lambda registry, row: registry.transfer(row, dataclasses.replace(row, volume_id="10")),
        lambda registry, row: registry.confirm(row, "/dev/vdz"),
    ],
    ids=["reserve", "transfer", "confirm"],
)
def test_a_transaction_that_was_aborted_is_made_again(registry, database, monkeypatch, call):
    registry.reserve(attachment("99", device="/dev/vdz"))
    registry.reserve(attachment())
    aborted, transaction = [TransactionAborted("deadlock found")], database.transaction

    def abort_once():
        if aborted:
            raise aborted.pop()
        return transaction()

    monkeypatch.setattr(database, "transaction", abort_once)
    assert call(registry, registry.get("1134", "9")) is not False
    assert not aborted


def test_a_change_that_was_aborted_is_made_again(registry, database, monkeypatch):
    registry.reserve(attachment())
    aborted, change = [TransactionAborted("deadlock found")], database.change

    def abort_once(statement, parameters):
        if aborted:
            raise aborted.pop()
        return change(statement, parameters)

    monkeypatch.setattr(database, "change", abort_once)
    assert registry.remove(registry.get("1134", "9"))
    assert not aborted


def test_a_claim_changes_whether_other_servers_may_have_the_volume(registry):
    registry.reserve(attachment(exclusive=False))
    shared = registry.get("1134", "9")
    assert registry.claim(shared, dataclasses.replace(shared.claimed(ATTACHING, "req-2"), exclusive=True))
    exclusive = registry.get("1134", "9")
    assert exclusive.exclusive
    with pytest.raises(AlreadyReserved):
        registry.reserve(attachment(server_id="1135"))
    assert registry.claim(exclusive, dataclasses.replace(exclusive.claimed(ATTACHING, "req-3"), exclusive=False))
    assert not registry.get("1134", "9").exclusive
    registry.reserve(attachment(server_id="1135"))


@pytest.mark.parametrize(("here", "there"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_row_excludes_one_of_another_server_if_either_is_exclusive(registry, here, there):
    registry.reserve(attachment(server_id="1134", exclusive=here))
    row = registry.get("1134", "9")
    assert registry.find_excluding(row) is None
    if not (here and there):
        registry.reserve(attachment(server_id="1135", exclusive=there))
        found = registry.find_excluding(row)
        assert (found and found.server_id) == ("1135" if here or there else None)


@pytest.mark.parametrize(("here", "there"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_row_elsewhere_conflicts_if_both_are_exclusive(registry, here, there):
    registry.reserve(attachment(server_id="1135", exclusive=there))
    found = registry.find_conflicting(attachment(server_id="1134", exclusive=here))
    assert (found and found.server_id) == ("1135" if here and there else None)


def test_a_registry_is_empty_until_a_row_is_reserved(registry):
    assert registry.is_empty()
    registry.reserve(attachment())
    assert not registry.is_empty()


def test_of_two_rows_whose_disks_changed_places_each_gets_its_device(registry):
    registry.reserve(attachment("9", state=ATTACHED, device="/dev/vdb"))
    registry.reserve(attachment("10", state=ATTACHED, device="/dev/vdc"))
    seen = {row.volume_id: row for row in registry.find()}
    both = [lambda: registry.confirm(seen["9"], "/dev/vdc"), lambda: registry.confirm(seen["10"], "/dev/vdb")]
    assert in_threads(*both) == [True, True]
    assert {row.volume_id: row.device for row in registry.find()} == {"9": "/dev/vdc", "10": "/dev/vdb"}


def test_each_row_has_an_id_of_its_own(registry):
    for volume_id in ("9", "99"):
        registry.reserve(attachment(volume_id, state=ATTACHED))
    assert len({uuid.UUID(id) for *_, id, _ in registry.list_visible("1134", projection=AttachmentDetail)}) == 2


def test_a_claim_writes_device_tag_and_flag_of_a_new_request(registry):
    row = attachment(tag="old", device="/dev/vdb")
    registry.reserve(row)
    claimed = dataclasses.replace(
        row.claimed(ATTACHING, "req-2", delete_on_termination=True), tag="new", device="/dev/vdc"
    )
    assert registry.claim(row, claimed)
    found = registry.get("1134", "9")
    assert (found.tag, found.delete_on_termination, found.device, found.id) == ("new", True, "/dev/vdc", row.id)
    assert not registry.claim(row, row.claimed(DETACHING, "req-3"))
    assert registry.get("1134", "9").state == ATTACHING


def test_a_claim_of_a_device_that_another_row_has_changes_nothing(registry):
    registry.reserve(attachment("99", device="/dev/vdb"))
    row = attachment()
    registry.reserve(row)
    before = registry.get("1134", "9")
    with pytest.raises(AlreadyReserved):
        registry.claim(row, dataclasses.replace(row.claimed(ATTACHING, "req-2"), device="/dev/vdb"))
    assert unaged(registry.get("1134", "9")) == unaged(before)


def test_a_claim_does_not_bring_back_a_device_that_another_row_got(registry):
    registry.reserve(attachment("9", state=ATTACHED, device="/dev/vdb"))
    registry.reserve(attachment("10", state=ATTACHED))
    seen = {row.volume_id: row for row in registry.find()}
    assert registry.confirm(seen["10"], "/dev/vdb")
    assert registry.claim(seen["9"], seen["9"].claimed(DETACHING, "req-2"))
    assert {row.volume_id: row.device for row in registry.find()} == {"9": None, "10": "/dev/vdb"}


def test_a_restored_row_is_as_before_the_claim_but_for_the_claims_ids(registry, database):
    registry.reserve(attachment(state=DETACHING, delete_on_termination=True, tag="old"))
    change(database, attachment(), updated_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    before = registry.get("1134", "9")
    claimed = before.claimed(ATTACHING, "req-2", delete_on_termination=False)
    assert registry.claim(before, claimed)
    assert registry.restore(claimed, before)
    ids = {"request_id": "req-2", "claim_id": claimed.claim_id}
    assert unaged(registry.get("1134", "9")) == unaged(dataclasses.replace(before, **ids))


def test_a_restamped_row_ages_from_now_on(registry, database):
    registry.reserve(attachment(state=DETACHING))
    change(database, attachment(), updated_at=datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC))
    before = registry.get("1134", "9")
    assert before.age < 0
    assert registry.restamp(before)
    after = registry.get("1134", "9")
    assert 0 <= after.age < 1000
    assert (after.state, after.request_id, after.claim_id) == (before.state, before.request_id, before.claim_id)


def test_a_removed_row_is_gone(registry):
    registry.reserve(attachment())
    assert registry.remove(registry.get("1134", "9"))
    assert registry.get("1134", "9") is None


def test_a_moved_row_is_on_the_other_server_only(registry):
    registry.reserve(attachment(state=DETACHING))
    assert registry.transfer(registry.get("1134", "9"), attachment(server_id="1135", request_id="req-2"))
    assert [row.server_id for row in registry.of_volume("9")] == ["1135"]


def test_a_move_to_a_taken_device_leaves_the_claim_as_it_was(registry):
    registry.reserve(attachment(state=DETACHING))
    registry.reserve(attachment("10", "1135", device="/dev/vdb"))
    seen = registry.get("1134", "9")
    with pytest.raises(AlreadyReserved):
        registry.transfer(seen, attachment(server_id="1135", device="/dev/vdb"))
    assert registry.get("1134", "9").request_id == seen.request_id
    assert registry.get("1135", "9") is None


def test_a_move_to_a_full_server_leaves_the_claim_as_it_was(registry):
    registry.reserve(attachment(state=DETACHING))
    registry.reserve(attachment("10", "1135"))
    with pytest.raises(AttachmentLimitReached):
        registry.transfer(registry.get("1134", "9"), attachment(server_id="1135"), limit=1)
    assert registry.get("1134", "9").state == DETACHING


# -- limits ----------------------------------------------------------------------------------------


def test_a_server_has_no_more_rows_than_its_limit(registry):
    registry.reserve(attachment("1"), limit=2)
    registry.reserve(attachment("2"), limit=2)
    with pytest.raises(AttachmentLimitReached) as raised:
        registry.reserve(attachment("3"), limit=2)
    assert raised.value.limit == 2
    assert registry.count() == 2


def test_other_servers_rows_do_not_count(registry):
    registry.reserve(attachment("1", "1135"), limit=1)
    registry.reserve(attachment("2"), limit=1)
    assert {row.volume_id: row.server_id for row in registry.walk()} == {"1": "1135", "2": "1134"}


def test_a_limit_is_not_ignored_when_the_locks_are_missing(new_url, make_database):
    database = make_database(new_url)
    schema.upgrade(database)
    database.change(delete(server_locks))
    registry = Registry(database)
    with pytest.raises(RegistryUnavailable, match="a row of the table server_locks is missing"):
        registry.reserve(attachment("1"), limit=2)
    assert registry.is_empty()


def test_of_two_threads_at_the_limit_one_gets_the_last_place(registry):
    registry.reserve(attachment("1"))
    for attempt in range(10):
        outcomes = in_threads(
            lambda: registry.reserve(attachment("2"), limit=2),
            lambda: registry.reserve(attachment("3"), limit=2),
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AttachmentLimitReached", "NoneType"], attempt
        (winner,) = {row.volume_id for row in registry.find(server_id="1134")} - {"1"}
        assert registry.remove(registry.get("1134", winner))


def test_of_many_threads_at_an_empty_server_as_many_get_a_place_as_there_are(registry):
    for attempt in range(5):
        outcomes = in_threads(
            *[lambda number=number: registry.reserve(attachment(str(number)), limit=3) for number in range(8)]
        )
        names = [type(outcome).__name__ for outcome in outcomes]
        assert sorted(names) == ["AttachmentLimitReached"] * 5 + ["NoneType"] * 3, attempt
        for row in registry.find(server_id="1134"):
            assert registry.remove(row)


@pytest.mark.parametrize(("state", "shown"), [(ATTACHING, False), (ATTACHED, True), (DETACHING, True)])
def test_one_row_is_shown_where_a_list_shows_it(registry, state, shown):
    registry.reserve(attachment(state=state, device="/dev/vdb"))
    expected = AttachmentSummary("9", "1134", "/dev/vdb", "demo") if shown else None
    assert registry.get_visible("1134", "9") == expected
    assert registry.get_visible("1135", "9") is None
    assert registry.get_visible("1134", "10") is None


# -- lists -----------------------------------------------------------------------------------------


def test_a_list_is_oldest_first_and_then_by_volume(registry, database):
    for volume_id in ("3", "1", "2", "4"):
        registry.reserve(attachment(volume_id, state=ATTACHED))
    later = datetime.datetime(2026, 1, 1, 0, 0, 0, 2, datetime.UTC)
    earlier = datetime.datetime(2026, 1, 1, 0, 0, 0, 1, datetime.UTC)
    for volume_id, moment in (("3", earlier), ("1", later), ("2", later), ("4", earlier)):
        change(database, attachment(volume_id), created_at=moment)
    assert [volume_id for volume_id, *_ in registry.list_visible("1134")] == ["3", "4", "1", "2"]


@pytest.mark.parametrize("form", [AttachmentSummary, AttachmentDetail])
@pytest.mark.parametrize("since", [None, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)])
def test_a_list_has_the_fields_of_the_form(registry, form, since):
    reserved = attachment(state=ATTACHED, device="/dev/vdb", tag="mine", delete_on_termination=True)
    registry.reserve(reserved)
    (row,) = registry.list_visible("1134", since=since, projection=form)
    expected = form(*[getattr(reserved, name) for name in form._fields])
    assert form(*row) == expected == registry.get_visible("1134", "9", form)


@pytest.mark.parametrize("form", [AttachmentSummary, AttachmentDetail])
def test_a_list_of_a_project_has_the_other_fields_of_the_form(registry, form):
    reserved = attachment(state=ATTACHED, device="/dev/vdb", tag="mine", delete_on_termination=True)
    registry.reserve(reserved)
    (row,) = registry.list_visible("1134", project_id="demo", projection=form)
    assert list(row) == [getattr(reserved, name) for name in form._fields if name != "project_id"]


def test_a_list_hides_what_is_being_attached_and_shows_what_is_being_detached(registry):
    for volume_id, state in (("1", ATTACHING), ("2", ATTACHED), ("3", DETACHING)):
        registry.reserve(attachment(volume_id, state=state))
    assert {volume_id for volume_id, *_ in registry.list_visible("1134")} == {"2", "3"}


def test_a_list_of_a_project_has_its_rows_only(registry):
    registry.reserve(attachment("1", state=ATTACHED))
    registry.reserve(attachment("2", state=ATTACHED, project_id="other"))
    assert [volume_id for volume_id, *_ in registry.list_visible("1134", project_id="demo")] == ["1"]
    assert [volume_id for volume_id, *_ in registry.list_visible("1134", project_id="other")] == ["2"]


def test_a_list_is_of_one_server(registry):
    registry.reserve(attachment("1", state=ATTACHED))
    registry.reserve(attachment("2", "1135", state=ATTACHED))
    assert [volume_id for volume_id, *_ in registry.list_visible("1134")] == ["1"]


def test_a_list_since_a_time_has_what_was_made_then_or_later(registry, database):
    moment = datetime.datetime(2026, 1, 1, 0, 0, 0, 500000, datetime.UTC)
    tick = datetime.timedelta(microseconds=1)
    for volume_id, made in (("1", moment - tick), ("2", moment), ("3", moment + tick)):
        registry.reserve(attachment(volume_id, state=ATTACHED))
        change(database, attachment(volume_id), created_at=made)
    assert [volume_id for volume_id, *_ in registry.list_visible("1134", since=moment)] == ["2", "3"]
    elsewhere = moment.astimezone(datetime.timezone(datetime.timedelta(hours=-5)))
    assert [volume_id for volume_id, *_ in registry.list_visible("1134", since=elsewhere)] == ["2", "3"]


def test_a_list_has_pages(registry, database):
    fill(database, [attachment(str(number), state=ATTACHED) for number in range(1, 8)])
    assert [volume_id for volume_id, *_ in registry.list_visible("1134", limit=3)] == ["1", "2", "3"]
    assert [volume_id for volume_id, *_ in registry.list_visible("1134", limit=3, offset=3)] == ["4", "5", "6"]
    assert [volume_id for volume_id, *_ in registry.list_visible("1134", limit=3, offset=6)] == ["7"]
    assert list(registry.list_visible("1134", limit=3, offset=7)) == []
    since = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    assert [volume_id for volume_id, *_ in registry.list_visible("1134", since=since, limit=2, offset=1)] == ["2", "3"]


def test_rows_are_found_by_any_column(registry):
    registry.reserve(attachment("1"))
    registry.reserve(attachment("2", "1135", project_id="other"))
    assert [row.volume_id for row in registry.find(server_id="1135")] == ["2"]
    assert [row.volume_id for row in registry.find(project_id="demo", server_id=None)] == ["1"]
    assert [row.volume_id for row in registry.find(volume_id=None)] == ["1", "2"]
    assert registry.find(server_id="1135", project_id="demo") == []
    assert registry.find(state=ATTACHED) == []
    assert [row.volume_id for row in registry.find(state=ATTACHING)] == ["1", "2"]


def test_rows_are_counted(registry):
    assert (registry.count(), registry.count(pending=True)) == (0, 0)
    for volume_id, state in (("1", ATTACHING), ("2", ATTACHED), ("3", DETACHING)):
        registry.reserve(attachment(volume_id, state=state))
    registry.reserve(attachment("4", "1135"))
    assert (registry.count(), registry.count(pending=True)) == (4, 3)
    assert (registry.count("1134"), registry.count("1134", pending=True)) == (3, 2)


def test_rows_are_found_by_server_time_and_volume(registry, database):
    made = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    for volume_id, server_id, days in (("1", "1135", 0), ("2", "1134", 1), ("3", "1134", 0), ("4", "1134", 0)):
        registry.reserve(attachment(volume_id, server_id))
        change(database, attachment(volume_id, server_id), created_at=made + datetime.timedelta(days=days))
    assert [row.volume_id for row in registry.find()] == ["3", "4", "2", "1"]


def test_a_list_without_a_limit_begins_with_the_first_and_has_a_thousand(registry, database):
    fill(database, [attachment(f"{number:05}", state=ATTACHED) for number in range(1001)])
    found = registry.list_visible("1134")
    assert [found[0][0], found[-1][0]] == ["00000", "00999"]


# -- walking ---------------------------------------------------------------------------------------


def test_a_walk_over_many_rows_yields_each_once_though_rows_change_meanwhile(registry, database):
    rows = [attachment(f"{number:05}", f"{number % 7}", state=ATTACHED) for number in range(2500)]
    fill(database, rows)
    stay = {(row.server_id, row.volume_id) for row in rows if int(row.volume_id) % 10}
    seen = []
    for number, row in enumerate(registry.walk()):
        seen.append((row.server_id, row.volume_id))
        if number % 500 == 0:
            # Some go, some come, before and after the place where the walk is.
            for each in [each for each in rows if not int(each.volume_id) % 10][number // 10 :: 50]:
                registry.remove(each)
            registry.reserve(attachment(f"1{number:05}", "0"))
            registry.reserve(attachment(f"2{number:05}", "9"))
    assert len(seen) == len(set(seen))
    assert stay <= set(seen)
    assert seen == sorted(seen)


def test_a_walk_shows_rows_as_they_are_when_it_comes_to_their_page(registry, database):
    fill(database, [attachment(f"{number:05}", state=ATTACHED) for number in range(1500)])
    walk = registry.walk()
    next(walk)
    change(database, attachment("01400"), request_id="req-2")
    assert {row.volume_id: row.request_id for row in walk}["01400"] == "req-2"


def test_a_walk_over_pending_rows_omits_the_attached_ones(registry, database):
    states = [ATTACHING, ATTACHED, DETACHING]
    fill(database, [attachment(f"{number:05}", state=states[number % 3]) for number in range(3600)])
    walked = [row.state for row in registry.walk(pending=True)]
    assert (walked.count(ATTACHING), walked.count(DETACHING), len(walked)) == (1200, 1200, 2400)


def test_a_walk_holds_no_connection_between_rows(registry, database):
    fill(database, [attachment(f"{number:05}", state=ATTACHED) for number in range(30)])
    walks = [registry.walk() for _ in range(30)]
    # More of them than a pool has connections.
    assert [next(walk).volume_id for walk in walks] == ["00000"] * 30
    registry.reserve(attachment("99999"))
    assert registry.count() == 31


# -- time ------------------------------------------------------------------------------------------


def test_a_rows_age_is_how_long_it_has_not_been_changed(registry, database):
    registry.reserve(attachment())
    fresh = registry.get("1134", "9")
    change(database, attachment(), updated_at=fresh.updated_at - datetime.timedelta(seconds=5000))
    old = registry.get("1134", "9")
    assert 0 <= fresh.age < 4000 < 5000 <= old.age < 9000
    (walked,) = registry.walk(pending=True)
    assert walked.age >= 5000


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("microsecond", [123456, 42])
def test_times_and_ages_are_by_the_databases_clock(url, monkeypatch, make_database, microsecond):
    now = [datetime.datetime(2031, 2, 3, 4, 5, 6, microsecond, datetime.UTC)]
    monkeypatch.setattr(sqlite, "time_ns", lambda: nanoseconds(now[0]))
    database = make_database(url)
    schema.ensure(database)
    registry = Registry(database)
    registry.reserve(attachment())
    (moment,) = now
    assert (registry.get("1134", "9").created_at, registry.get("1134", "9").age) == (moment, 0)
    now[0] += datetime.timedelta(seconds=60.5)
    found = registry.get("1134", "9")
    assert (found.updated_at, found.age) == (moment, 60.5)
    registry.claim(found, found.claimed(DETACHING, "req-2"))
    assert registry.get("1134", "9").age == 0
    database.dispose()


# -- many at once ----------------------------------------------------------------------------------


def test_of_sixteen_threads_that_reserve_one_volume_one_wins(registry):
    outcomes = in_threads(
        *[
            lambda number=number: registry.reserve(attachment(server_id=str(number), request_id=f"req-{number}"))
            for number in range(16)
        ]
    )
    assert [type(outcome).__name__ for outcome in outcomes if outcome].count("AlreadyReserved") == 15
    winner = outcomes.index(None)
    assert [row.server_id for row in registry.of_volume("9")] == [str(winner)]


def test_of_sixteen_threads_that_claim_one_row_one_wins(registry, make_database):
    registry.reserve(attachment(state=ATTACHED))
    seen = registry.get("1134", "9")
    outcomes = in_threads(
        *[
            lambda number=number: registry.claim(seen, seen.claimed(DETACHING, f"req-of-{number}"))
            for number in range(16)
        ]
    )
    assert sorted(outcomes) == [False] * 15 + [True]
    assert registry.get("1134", "9").request_id == f"req-of-{outcomes.index(True)}"


def reserve_in_a_process(url, server_id, start, outcomes):
    registry = Registry(Database({"url": url}))
    start.wait(TIMEOUT)
    won = 0
    for volume in range(20):
        try:
            registry.reserve(attachment(f"volume-{volume}", server_id, request_id=f"req-{server_id}"))
            won += 1
        except AlreadyReserved:
            pass
    outcomes.put((server_id, won))


def test_of_four_processes_that_reserve_the_same_volumes_one_wins_each(url, registry):
    spawn = multiprocessing.get_context("spawn")
    start, outcomes = spawn.Barrier(4), spawn.Queue()
    processes = [
        spawn.Process(target=reserve_in_a_process, args=(url, str(number), start, outcomes)) for number in range(4)
    ]
    for process in processes:
        process.start()
    won = dict(outcomes.get(timeout=TIMEOUT) for _ in processes)
    for process in processes:
        process.join(TIMEOUT)
    assert [process.exitcode for process in processes] == [0] * 4
    assert sum(won.values()) == 20
    for server_id, number in won.items():
        assert len(registry.find(server_id=server_id)) == number


# -- giving way ------------------------------------------------------------------------------------


@pytest.mark.only_on("postgresql", "mariadb")
def test_of_two_transactions_in_each_others_way_both_are_made_in_the_end(registry, database):
    registry.reserve(attachment("1"))
    registry.reserve(attachment("2"))
    both_have_one = threading.Barrier(2)
    started = []

    @retry_on_deadlock
    def claim(request_id, *volume_ids):
        started.append(request_id)
        with database.transaction() as connection:
            for volume_id in volume_ids:
                here = table.c.volume_id == volume_id
                connection.change(update(table).where(here).values(request_id=request_id))
                if len(started) <= 2 and volume_id == volume_ids[0]:
                    both_have_one.wait(TIMEOUT)

    def first():
        claim("req-1", "1", "2")

    def second():
        claim("req-2", "2", "1")

    assert in_threads(first, second) == [None, None]
    assert len(started) == 3
    assert {row.request_id for row in registry.find()} == {started[-1]}


def test_an_aborted_reservation_whose_volume_is_reserved_by_then_is_not_retried(registry, database, monkeypatch):
    registry.reserve(attachment(server_id="1135"))
    started = []

    def abort(statement, parameters):
        started.append(None)
        raise TransactionAborted

    monkeypatch.setattr(database, "change", abort)
    with pytest.raises(AlreadyReserved):
        registry.reserve(attachment(server_id="1134"))
    assert len(started) == 1


def reserve_and_remove(url, servers, start, outcomes):
    registry = Registry(Database({"url": url, "pool_size": "8"}))

    def run():
        results = []
        for number in range(200):
            row = attachment(server_id=servers[number % len(servers)], request_id=str(uuid.uuid4()))
            try:
                registry.reserve(row)
            except AlreadyReserved:
                continue
            except RegistryUnavailable as error:
                results.append(str(error))
                continue
            results.append(registry.remove(row))
        return results

    start.wait(TIMEOUT)
    outcomes.put([results for each in in_threads(*[run] * 8) for results in each])


@pytest.mark.only_on("postgresql", "mariadb")
def test_however_many_want_one_volume_the_database_is_never_called_unavailable(url, registry):
    spawn = multiprocessing.get_context("spawn")
    start, outcomes = spawn.Barrier(4), spawn.Queue()
    arguments = (url, ("1134", "1135", "1136"), start, outcomes)
    processes = [spawn.Process(target=reserve_and_remove, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    results = [each for _ in processes for each in outcomes.get(timeout=TIMEOUT)]
    for process in processes:
        process.join(TIMEOUT)
    assert set(results) == {True}
    assert registry.find() == []


@pytest.mark.only_on("postgresql")
def test_a_change_that_can_not_be_serialized_is_made_again(url, registry, make_database):
    registry.reserve(attachment())
    seen = registry.get("1134", "9")
    strict = make_url(url).update_query_dict({"options": "-c default_transaction_isolation=serializable"})
    database = make_database(strict.render_as_string(hide_password=False))
    claimed = []
    with make_database(url).transaction() as connection:
        connection.change(update(table).values(request_id="req-2", claim_id="another"))
        row = seen.claimed(DETACHING, "req-3")
        thread = threading.Thread(target=lambda: claimed.append(Registry(database).claim(seen, row)))
        thread.start()
        thread.join(0.3)  # it waits for us
        assert claimed == []
    thread.join(TIMEOUT)
    assert claimed == [False]
    assert registry.get("1134", "9").request_id == "req-2"


# -- connections -----------------------------------------------------------------------------------


@contextmanager
def connections_made(prepare=lambda connection: None):
    """Give a list that grows by each connection made to any database."""
    made = []

    def connected(connection, record):
        made.append(connection)
        prepare(connection)

    event.listen(Engine, "connect", connected)
    try:
        yield made
    finally:
        event.remove(Engine, "connect", connected)


def test_connections_are_reused_for_reading_and_for_writing(url, database, make_database):
    with connections_made() as made:
        registry = Registry(make_database(url))
        for number in range(20):
            registry.reserve(attachment(str(number)))
            registry.get(str(number), "1134")
            registry.list_visible("1134")
    assert len(made) == 1


def test_a_statement_is_compiled_once(url, make_database, monkeypatch):
    compiled = []

    class Noted(execution.Compiled):
        def __init__(self, statement, dialect):
            super().__init__(statement, dialect)
            compiled.append(statement)

    monkeypatch.setattr(execution, "Compiled", Noted)
    registry = Registry(make_database(url))
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    def use(volume_id):
        registry.list_visible("1134", since=moment)
        registry.reserve(attachment(volume_id))
        registry.find(server_id="1134", state=ATTACHED)
        row = registry.get("1134", volume_id)
        assert registry.claim(row, dataclasses.replace(row, device=f"/dev/vd{volume_id}", state=REATTACHING))

    use("9")
    assert len(compiled) == 5
    use("10")
    assert len(compiled) == 5


def test_each_statement_is_logged_for_debugging(registry, caplog):
    caplog.set_level("DEBUG", logger=execution.__name__)
    registry.get_visible("1134", "9")
    (message,) = caplog.messages
    assert message.startswith("SELECT attachments.volume_id")
    assert "('1134', '9')" in message


@pytest.mark.only_on("mariadb")
def test_the_scheme_mariadb_may_be_used_for_the_scheme_mysql(url, make_database):
    database = make_database(url.replace("mysql+", "mariadb+"))
    assert schema.current(database) == schema.HEAD
    registry = Registry(database)
    registry.reserve(attachment(), limit=1)
    assert registry.get("1134", "9").age >= 0


def test_nothing_is_connected_before_first_use(url, make_database):
    with connections_made() as made:
        Registry(make_database(url))
    assert made == []


def test_a_transaction_that_fails_changes_nothing(database, registry):
    registry.reserve(attachment())

    def fail():
        with database.transaction() as connection:
            connection.change(update(table).values(state=DETACHING))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert registry.get("1134", "9").state == ATTACHING


def test_a_database_that_does_not_respond_is_unavailable(tmp_path):
    registry = Registry(Database({"url": f"sqlite:///{tmp_path}/no/such/directory/registry.db"}))
    for send_request in (
        lambda: registry.get("1134", "9"),
        lambda: registry.list_visible("1134"),
        lambda: registry.reserve(attachment()),
        lambda: registry.claim(attachment(), attachment()),
        lambda: list(registry.walk()),
        registry.count,
    ):
        with pytest.raises(RegistryUnavailable):
            send_request()


@pytest.mark.only_on("sqlite")
class TestSQLite:
    @staticmethod
    def pragma(connection, name):
        ((value,),) = connection.query(sqlalchemy.text(f"PRAGMA {name}"))
        return value

    def test_a_commit_lasts_and_writers_wait_for_each_other(self, database):
        with database.transaction() as connection:
            assert self.pragma(connection, "journal_mode") == "wal"
            assert self.pragma(connection, "synchronous") == 2  # FULL
            assert self.pragma(connection, "busy_timeout") == BUSY_TIMEOUT == 10_000

    @pytest.fixture
    def statements(self):
        """Give the statements that SQLite itself gets."""
        statements = []
        with connections_made(lambda connection: connection.set_trace_callback(statements.append)):
            yield statements

    @staticmethod
    def transactions(statements):
        return [each for each in statements if each.startswith(("BEGIN", "COMMIT", "ROLLBACK"))]

    def test_what_reads_and_then_writes_begins_an_immediate_transaction(self, statements, url, make_database):
        registry = Registry(make_database(url))
        registry.count()
        statements.clear()
        registry.reserve(attachment(), limit=3)
        assert statements[0] == "BEGIN IMMEDIATE"
        assert self.transactions(statements) == ["BEGIN IMMEDIATE", "COMMIT"]
        statements.clear()
        registry.transfer(attachment(), attachment(server_id="1135"))
        assert statements[0] == "BEGIN IMMEDIATE"
        assert self.transactions(statements) == ["BEGIN IMMEDIATE", "COMMIT"]

    def test_reads_begin_no_transaction(self, statements, url, make_database):
        registry = Registry(make_database(url))
        registry.count()
        statements.clear()
        registry.get("1134", "9")
        registry.get_visible("1134", "9")
        registry.list_visible("1134")
        registry.find_conflicting(attachment())
        assert list(registry.walk()) == []
        assert len(statements) >= 5
        assert self.transactions(statements) == []

    def test_a_read_after_a_write_on_the_same_connection_begins_none_either(self, statements, url, make_database):
        registry = Registry(make_database(url))
        registry.reserve(attachment(), limit=3)
        statements.clear()
        registry.get("1134", "9")
        assert self.transactions(statements) == []

    def test_readers_read_while_another_writes(self, database, registry):
        with database.transaction() as connection:
            connection.change(insert(table).values(**self.values()))
            assert registry.get("1134", "9") is None
        assert registry.get("1134", "9").volume_id == "9"

    @pytest.fixture
    def path(self, url, monkeypatch):
        monkeypatch.setattr(sqlite, "CHECK_INTERVAL", 0)
        return Path(make_url(url).database)

    @pytest.mark.parametrize("size", ["1", "5"])  # with 1, no connection is kept outside of SQLAlchemy's pool
    def test_a_file_that_replaced_another_stays_as_it_is(self, url, path, tmp_path, make_database, size):
        database = make_database(url, pool_size=size)
        Registry(database).reserve(attachment())
        shutil.copy(path, tmp_path / "backup.db")  # the attachment is still in FILE-wal
        (tmp_path / "backup.db").replace(path)
        remedy = f"stop all workers, remove {path}-wal and {path}-shm, then start them again"
        for _ in range(2):
            with pytest.raises(RegistryUnavailable, match=f"^{path} was replaced: {remedy}$"):
                Registry(database).get("1134", "9")
        database.dispose()
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
        restored = Registry(make_database(url))
        assert restored.is_empty()
        restored.reserve(attachment())

    def test_a_file_that_was_deleted_is_not_created_again(self, registry, path):
        registry.reserve(attachment())
        path.unlink()
        for _ in range(2):
            with pytest.raises(RegistryUnavailable, match=f"^there is no file {path}"):
                registry.get("1134", "9")
        assert not path.exists()

    def test_a_file_that_is_replaced_while_it_is_opened_is_not_used(
        self, url, path, tmp_path, make_database, monkeypatch
    ):
        monkeypatch.setattr(sqlite, "CHECK_INTERVAL", 10**18)
        shutil.copy(path, tmp_path / "backup.db")

        def replace(connection):
            (tmp_path / "backup.db").replace(path)

        with connections_made(replace), pytest.raises(RegistryUnavailable, match=f"^{path} was replaced"):
            Registry(make_database(url)).get("1134", "9")

    def test_a_connection_is_checked_again_after_a_while(self, registry, path, monkeypatch):
        now = [sqlite.monotonic_ns()]
        monkeypatch.setattr(sqlite, "monotonic_ns", lambda: now[0])
        registry.reserve(attachment())
        monkeypatch.setattr(sqlite, "CHECK_INTERVAL", 10)
        now[0] += 10
        assert registry.get("1134", "9").volume_id == "9"
        path.unlink()
        now[0] += 9
        assert registry.get("1134", "9").volume_id == "9"
        now[0] += 1
        with pytest.raises(RegistryUnavailable, match="there is no file"):
            registry.get("1134", "9")

    def test_a_writer_that_waits_too_long_gets_registry_unavailable(self, url, database, monkeypatch, make_database):
        monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
        short_timeout = Registry(make_database(url))
        with database.transaction(), pytest.raises(RegistryUnavailable, match="locked"):
            short_timeout.reserve(attachment())
        short_timeout.reserve(attachment())

    @staticmethod
    def values():
        moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        return {
            "volume_id": "9",
            "server_id": "1134",
            "id": str(uuid.uuid4()),
            "project_id": "demo",
            "exclusive_volume_id": "9",
            "root": False,
            "delete_on_termination": False,
            "state": ATTACHED,
            "request_id": "req-1",
            "claim_id": "claim-1",
            "created_at": moment,
            "updated_at": moment,
        }
