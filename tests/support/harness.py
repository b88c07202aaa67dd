"""The attachment manager and the reconciler over a real registry; everything else is scripted."""

import dataclasses
import datetime
import itertools
from types import SimpleNamespace

import pytest
from sqlalchemy import bindparam, select, update

from os_volume_ext.attachments import claims as claims_module
from os_volume_ext.attachments.claims import Claims
from os_volume_ext.attachments.executor import BackendExecutor
from os_volume_ext.attachments.force_detach import ForceDetacher
from os_volume_ext.attachments.gone import GoneServers
from os_volume_ext.attachments.manager import AttachmentManager
from os_volume_ext.attachments.reconcile import Reconciler
from os_volume_ext.attachments.reservations import Reservations
from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.context import RequestContext
from os_volume_ext.errors import ComputeUnavailable, Overloaded
from os_volume_ext.models import ATTACHED, Attachment, AttachmentSummary, AttachRequest, Constraints
from os_volume_ext.observers.base import Observers
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.tables import attachments as table
from tests.support.scripted import (
    Hooks,
    Listener,
    ScriptedBackend,
    ScriptedCatalog,
    ScriptedCompute,
    ScriptedRegistry,
)

OPERATION_TIMEOUT, STALE_AFTER = 60, 180
STATES, PASSING_STATES = frozenset(("ACTIVE", "STOPPED")), frozenset(("BUILD", "REBOOT"))
CALL_TIMEOUT = 30  # seconds after which a backend call counts as hung, by default
SHORT_TIMEOUT = 0.3  # where a test waits for that; other calls end in time on a loaded machine too

_TIMES = select(table.c.volume_id, table.c.server_id, table.c.updated_at)
_SET_TIME = (
    update(table)
    .where(table.c.volume_id == bindparam("volume"), table.c.server_id == bindparam("server"))
    .values(updated_at=bindparam("moment"))
)


class Harness:
    """Manager, claims and reconciler over a real registry, with everything else scripted.

    There are the servers 1134 and 1135 of the project demo and 2001 of other, the volumes 9 and 99 of demo,
    77 of demo, which is multiattach, and 200 of other.
    """

    def __init__(self, database, monkeypatch, timeout=CALL_TIMEOUT, max_concurrent=8, observers=()):
        self.database = database
        self.hooks = Hooks()
        self.at = self.hooks.at
        self.registry = ScriptedRegistry(database, self.hooks)
        self.backend = ScriptedBackend(self.hooks)
        self.compute = ScriptedCompute()
        self.catalog = ScriptedCatalog(self.hooks)
        self.now = 1000.0
        monkeypatch.setattr(claims_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.listener = Listener()
        self.observers = Observers(*observers, self.listener)
        self.executor = BackendExecutor(
            backend=self.backend, timeout=timeout, max_concurrent=max_concurrent, observers=self.observers
        )
        self.claims = Claims(
            registry=self.registry,
            executor=self.executor,
            operation_timeout=OPERATION_TIMEOUT,
            stale_after=STALE_AFTER,
        )
        self.requests = itertools.count(1)
        self.constraints = Constraints(STATES, PASSING_STATES, multiattach=True)
        self.manager = self.make_manager()
        self.force_detacher = ForceDetacher(
            registry=self.registry,
            claims=self.claims,
            executor=self.executor,
            compute=self.compute.remote,
            observers=self.observers,
        )
        self.reconciler = self.make_reconciler(self.compute.remote)
        for server_id, project_id in (("1134", "demo"), ("1135", "demo"), ("2001", "other")):
            self.compute.add(Server(server_id, project_id, "ACTIVE"))
            self.backend.disks[server_id] = {}
        self.catalog.add(
            Volume("9", "demo", "/a/file", "raw"),
            Volume("99", "demo"),
            Volume("77", "demo", multiattach=True),
            Volume("200", "other"),
        )

    def make_manager(self, max_attachments=None, *, has_compute_url=True):
        remote = self.compute.remote if has_compute_url else None
        gone = GoneServers(compute=remote, executor=self.executor)
        reservations = Reservations(
            compute=self.compute,
            registry=self.registry,
            claims=self.claims,
            executor=self.executor,
            gone=gone,
            max_attachments=max_attachments,
            observers=self.observers,
        )
        return AttachmentManager(
            compute=self.compute,
            catalog=self.catalog,
            registry=self.registry,
            claims=self.claims,
            reservations=reservations,
            gone=gone,
            observers=self.observers,
        )

    def make_reconciler(self, compute):
        return Reconciler(
            registry=self.registry,
            catalog=self.catalog,
            claims=self.claims,
            executor=self.executor,
            compute=compute,
            constraints=self.constraints,
            observers=self.observers,
        )

    def caller(self, project_id="demo", enforce=None, is_admin=False):
        """Return a caller whom policy allows all in their own project, and administrators everywhere."""

        def own(rule, of_project, of_user):
            return is_admin or of_project == project_id

        credentials = {"user_id": "user", "project_id": project_id, "is_admin": is_admin}
        return RequestContext(f"req-{next(self.requests)}", credentials, enforce or own)

    # -- requests and commands -----------------------------------------------------------------

    def attach(self, volume_id="9", server_id="1134", device=None, tag=None, delete_on_termination=False, **caller):
        request = AttachRequest(volume_id, device, tag, delete_on_termination)
        return self.manager.attach(self.caller(**caller), self.constraints, server_id, request)

    def update(self, volume_id="9", server_id="1134", *, delete_on_termination):
        context = self.caller()
        row = self.manager.find_for_update(context, server_id, volume_id)
        return self.manager.set_delete_on_termination(context, row, delete_on_termination)

    def detach(self, volume_id="9", server_id="1134", **caller):
        return self.manager.detach(self.caller(**caller), self.constraints, server_id, volume_id)

    def get(self, volume_id="9", server_id="1134", **caller):
        return self.manager.get(self.caller(**caller), server_id, volume_id)

    def list(self, server_id="1134", **caller):
        rows = self.manager.list_attachments(self.caller(**caller), server_id, since=None, limit=1000, offset=0)
        return [AttachmentSummary(*row) for row in rows]

    def reconcile(self, everything=False, dry_run=False):
        """Return ``[(server, volume, outcome), ...]``, and remember the findings."""
        reconcile = self.reconciler.reconcile_all if everything else self.reconciler.reconcile_stale
        self.findings = list(reconcile(dry_run=dry_run))
        return [(each.server_id, each.volume_id, each.outcome) for each in self.findings]

    def overload(self):
        """Check that an attach is refused while the only slot of this harness is in use."""
        with self.executor.slot("req-of-another", "demo"), pytest.raises(Overloaded):
            self.attach("99")

    # -- state and events -----------------------------------------------------------------------------------

    def row(self, volume_id="9", server_id="1134"):
        return Registry(self.database).get(server_id, volume_id)

    def state(self, volume_id="9", server_id="1134"):
        """Return the state of a row, None without one, and whether the disk is there."""
        row = self.row(volume_id, server_id)
        return row and row.state, volume_id in self.backend.devices(server_id)

    def put(self, state, volume_id="9", server_id="1134", disk=False, stale=False, **more):
        """Add a row such as a worker leaves. :param disk: whether the disk is there."""
        volume = self.catalog.known.get(volume_id, Volume(volume_id, "demo"))
        values = {
            "volume_id": volume_id,
            "server_id": server_id,
            "project_id": "demo",
            "exclusive": not volume.multiattach,
            "device": None,
            "root": False,
            "state": state,
            "request_id": "req-of-the-dead",
            "host": None,
            "instance_name": None,
            "source": None,
            "format": None,
        } | more
        Registry(self.database).reserve(Attachment(**values))
        if disk:
            self.backend.disks[server_id][volume_id] = values["device"] or "/dev/vdb"
        if stale:
            self.pass_time(STALE_AFTER + 1)

    def take_over(self, state=None, volume_id="9", server_id="1134", request_id="req-of-another"):
        """Let another operation claim the row."""
        row = self.row(volume_id, server_id)
        assert Registry(self.database).claim(row, row.claimed(state or row.state, request_id))

    def pass_time(self, seconds):
        """Advance the workers' clock, and age all rows."""
        self.now += seconds
        self._age(seconds)

    def set_clock_back(self, seconds):
        """Set the database's clock back: rows that are younger than that were changed in the future."""
        self._age(-seconds)

    def _age(self, seconds):
        with self.database.transaction() as connection:
            for volume_id, server_id, moment in connection.query(_TIMES):
                aged = {
                    "volume": volume_id,
                    "server": server_id,
                    "moment": moment - datetime.timedelta(seconds=seconds),
                }
                connection.change(_SET_TIME, aged)

    def set_server(self, server_id="1134", **changes):
        self.compute.known[server_id] = dataclasses.replace(self.compute.known[server_id], **changes)

    def delete_server(self, server_id="1134"):
        """Delete a server from the compute API and the backend."""
        self.compute.delete(server_id)
        self.backend.disks.pop(server_id, None)

    def compute_is_down(self):
        self.compute.error = ComputeUnavailable("it does not respond")

    def is_consistent(self):
        """Return whether registry and backend agree, and no operation is pending."""
        rows, servers = self.snapshot()
        return rows == {
            (server_id, volume_id, ATTACHED, device)
            for server_id, disks in servers.items()
            for volume_id, device in disks.items()
        }

    def snapshot(self):
        """Return rows and disks, without values that differ each time."""
        rows = {(row.server_id, row.volume_id, row.state, row.device) for row in Registry(self.database).walk()}
        return rows, {server_id: dict(theirs) for server_id, theirs in self.backend.disks.items()}
