"""What the tests of the protocol play with: a backend, a compute API and a registry to which anything can happen.

Steps of operations that run at once are put in an order without threads: ``House.at`` runs something before or
after a step of the registry or of the backend, such as a whole other operation, and then the first one goes on.
"""

import dataclasses
import datetime
import itertools
import threading
from collections import defaultdict
from types import SimpleNamespace

import pytest
from failpoints import step
from sqlalchemy import update

from os_volume_ext.attachments import claims as claims_module
from os_volume_ext.attachments.claims import Claims
from os_volume_ext.attachments.executor import BackendExecutor
from os_volume_ext.attachments.manager import AttachmentManager
from os_volume_ext.attachments.reconcile import Reconciler
from os_volume_ext.backends.base import Backend, DeviceInUse, OutcomeUnknown, Server, ServerNotFound, Volume
from os_volume_ext.catalog.base import VolumeNotFound
from os_volume_ext.context import RequestContext
from os_volume_ext.errors import ComputeUnavailable, Overloaded, ServerMissing
from os_volume_ext.models import ATTACHED, Attachment, AttachRequest, Constraints
from os_volume_ext.observers.base import Observer, Observers
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.tables import attachments as table

OPERATION_TIMEOUT, STALE_AFTER = 60, 180
STATES, PASSING_STATES = frozenset(("ACTIVE", "STOPPED")), frozenset(("BUILD", "REBOOT"))
PATIENCE = 30  # seconds after which a call counts as hung, unless a test says otherwise


class Died(BaseException):
    """The worker is no more."""


class Hooks:
    """What happens at a step, the next time that it is come to."""

    def __init__(self):
        self.waiting = defaultdict(list)

    def at(self, step, *actions):
        self.waiting[step] += actions

    def reached(self, step):
        if self.waiting[step]:
            self.waiting[step].pop(0)()


class ScriptedRegistry(Registry):
    """A registry, with steps such as ``before confirm`` and ``after confirm``."""

    def __init__(self, database, hooks):
        super().__init__(database)
        self._hooks = hooks

    def changed(self, method, arguments, answer):
        """For those who want to know at once."""

    def _step(self, method, *arguments):
        with step(self._hooks.reached, method):
            answer = getattr(super(), method)(*arguments)
            self.changed(method, arguments, answer)
        return answer

    def reserve(self, row, limit=None):
        return self._step("reserve", row, limit)

    def move(self, seen, row, limit=None):
        return self._step("move", seen, row, limit)

    def claim(self, seen, state, request_id):
        return self._step("claim", seen, state, request_id)

    def confirm(self, seen, device):
        return self._step("confirm", seen, device)

    def put_back(self, seen):
        return self._step("put_back", seen)

    def describe(self, seen, request_id, tag, delete_on_termination):
        return self._step("describe", seen, request_id, tag, delete_on_termination)

    def remove(self, seen):
        return self._step("remove", seen)

    def find_conflicting(self, wanted):
        return self._step("find_conflicting", wanted)


class ScriptedBackend(Backend):
    """Servers with disks, in memory.

    Faults are functions, one for each coming call of a method; they are given what the call would do, and do
    it or not before they return or raise.
    """

    def __init__(self, hooks):
        self.disks = {}
        self.calls = []
        self.faults = defaultdict(list)
        self.violations = []
        self._hooks = hooks

    def fail(self, method, *faults):
        self.faults[method] += faults

    def made(self, method):
        """Return the calls of one method: the server and, but for ``attached``, the volume."""
        return [call[1:] for call in self.calls if call[0] == method]

    def devices(self, server_id):
        return self.disks.get(server_id, {})

    def check(self):
        pass

    def _call(self, method, effect, server, *arguments):
        self.calls.append((method, server.id, *(volume.id for volume in arguments)))
        with step(self._hooks.reached, f"backend {method}"):
            return (self.faults[method].pop(0) if self.faults[method] else perform)(effect)

    def attach(self, server, volume, device):
        return self._call("attach", lambda: self.do_attach(server, volume, device), server, volume)

    def detach(self, server, volume, device):
        return self._call("detach", lambda: self.do_detach(server, volume), server, volume)

    def attached(self, server):
        return self._call("attached", lambda: dict(self._server(server)), server)

    def do_attach(self, server, volume, device):
        disks = self._server(server)
        if volume.id not in disks:
            if device in disks.values():
                raise DeviceInUse(f"{device} is in use")
            elsewhere = [each for each, theirs in self.disks.items() if volume.id in theirs]
            if elsewhere and not volume.multiattach:
                self.violations.append(f"I1: {volume.id} is in {elsewhere} and {server.id}")
            free = (f"/dev/vd{letter}" for letter in "bcdefgh")
            disks[volume.id] = device or next(each for each in free if each not in disks.values())
        return disks[volume.id]

    def do_detach(self, server, volume):
        self._server(server).pop(volume.id, None)

    def _server(self, server):
        if server.id not in self.disks:
            raise ServerNotFound(f"there is no server {server.id}")
        return self.disks[server.id]


def perform(effect):
    """Do it."""
    return effect()


def refuse(error):
    """Do nothing, and say so."""

    def fault(effect):
        raise error

    return fault


def do_it_and_lose_the_answer(error):
    """Do it, and raise all the same."""

    def fault(effect):
        effect()
        raise error

    return fault


def hang(begun, go_on):
    """Do it when told to."""

    def fault(effect):
        begun.set()
        assert go_on.wait(PATIENCE)
        return effect()

    return fault


class ScriptedCompute:
    """The compute API, within a request and, as ``remote``, outside of one."""

    def __init__(self):
        self.known = {}
        self.error = None
        self.asked = []
        self.remote = SimpleNamespace(server=self._look_up, servers=self._list)

    def add(self, server):
        self.known[server.id] = server

    def delete(self, server_id):
        del self.known[server_id]

    def server(self, context, server_id):
        server = self._look_up(server_id)
        if not context.is_admin and server.project_id != context.project_id:
            raise ServerMissing(server_id)
        return server

    def project(self, context, server_id):
        return self.server(context, server_id).project_id

    def _look_up(self, server_id):
        self.asked.append(server_id)
        if self.error:
            raise self.error
        if server_id not in self.known:
            raise ServerMissing(server_id)
        return self.known[server_id]

    def _list(self):
        if self.error:
            raise self.error
        yield from list(self.known.values())


class ScriptedCatalog:
    """The volumes, by id, and with whose servers which of them were deleted."""

    can_delete = True

    def __init__(self):
        self.known = {}
        self.deleted = []
        self.fail = None

    def add(self, *volumes):
        self.known.update((volume.id, volume) for volume in volumes)

    def volume(self, context, volume_id):
        if volume_id not in self.known:
            raise VolumeNotFound(volume_id)
        return self.known[volume_id]

    def delete(self, volume_id, server_id=None):
        if self.fail:
            raise self.fail
        if self.known.pop(volume_id, None) is None:
            raise VolumeNotFound(volume_id)
        self.deleted.append((volume_id, server_id))


class Listener(Observer):
    """Keeps what it hears: of each operation ``(what, action, volume, server, device)``, when it hears it."""

    def __init__(self):
        self.heard = []
        self.operations = []
        self.calls = []
        self.overloads = 0

    def started(self, operation):
        self._hear("begun", operation)

    def finished(self, operation):
        self._hear("done" if operation.error is None else type(operation.error).__name__, operation)
        self.operations.append(operation)

    def backend_called(self, method, seconds, error):
        self.calls.append((method, error))

    def overloaded(self):
        self.overloads += 1

    def _hear(self, what, operation):
        self.heard.append((what, operation.action, operation.volume_id, operation.server_id, operation.device))


def member(context, action, project_id):
    """Let members do everything in their own project, and administrators everywhere."""
    return context.is_admin or project_id == context.project_id


class House:
    """Manager, claims and reconciler over a real registry, with everything else scripted.

    There are the servers 1134 and 1135 of the project demo and 2001 of other, the volumes 9 and 99 of demo,
    77 of demo, which is multiattach, and 200 of other.
    """

    def __init__(self, database, monkeypatch, patience=PATIENCE, places=8):
        self.database = database
        self.hooks = Hooks()
        self.at = self.hooks.at
        self.registry = ScriptedRegistry(database, self.hooks)
        self.backend = ScriptedBackend(self.hooks)
        self.compute = ScriptedCompute()
        self.catalog = ScriptedCatalog()
        self.now = 1000.0
        monkeypatch.setattr(claims_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.claims = Claims(self.registry, self.backend, OPERATION_TIMEOUT, STALE_AFTER)
        self.listener = Listener()
        self.observers = Observers(self.listener)
        self.operations = BackendExecutor(patience, places, self.observers)
        self.requests = itertools.count(1)
        self.rules = Constraints(STATES, PASSING_STATES, multiattach=True)
        self.manager = self.make_manager()
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

    def make_manager(self, max_attachments=None):
        return AttachmentManager(
            self.compute,
            self.catalog,
            self.registry,
            self.backend,
            self.claims,
            self.operations,
            max_attachments,
            self.observers,
        )

    def make_reconciler(self, compute, dry_run=False):
        return Reconciler(
            self.registry,
            self.backend,
            self.catalog,
            self.claims,
            self.operations,
            compute,
            STATES,
            dry_run,
            self.observers,
        )

    def caller(self, project_id="demo", enforce=member, is_admin=False):
        credentials = {"is_admin": is_admin}
        return RequestContext(f"req-{next(self.requests)}", "user", project_id, credentials, enforce)

    # -- what callers and operators do -----------------------------------------------------------------

    def attach(self, volume_id="9", server_id="1134", device=None, tag=None, delete_on_termination=False, **caller):
        wanted = AttachRequest(volume_id, device, tag, delete_on_termination)
        return self.manager.attach(self.caller(**caller), self.rules, server_id, wanted)

    def update(self, volume_id="9", server_id="1134", **members):
        return self.manager.update(self.caller(), server_id, volume_id, members)

    def detach(self, volume_id="9", server_id="1134", **caller):
        return self.manager.detach(self.caller(**caller), self.rules, server_id, volume_id)

    def get(self, volume_id="9", server_id="1134", **caller):
        return self.manager.get(self.caller(**caller), server_id, volume_id)

    def list(self, server_id="1134", **caller):
        return self.manager.list(self.caller(**caller), server_id, None, 1000, 0)

    def reconcile(self, everything=False):
        """Return ``[(server, volume, outcome), ...]``, and remember the findings."""
        reconciler = self.reconciler
        self.findings = list(reconciler.reconcile_all() if everything else reconciler.reconcile_stale())
        return [(each.server_id, each.volume_id, each.outcome) for each in self.findings]

    def overload(self):
        """Have an attach of a house with one place hang, and ask for another, which finds none."""
        go_on = threading.Event()
        self.backend.fail("attach", hang(threading.Event(), go_on))
        with pytest.raises(OutcomeUnknown):
            self.attach()
        with pytest.raises(Overloaded):
            self.attach("99")
        go_on.set()

    # -- what happens -----------------------------------------------------------------------------------

    def row(self, volume_id="9", server_id="1134"):
        return Registry(self.database).get(volume_id, server_id)

    def state(self, volume_id="9", server_id="1134"):
        """Return the state of a row and whether the disk is there; None for a row that is not."""
        row = self.row(volume_id, server_id)
        return row and row.state, volume_id in self.backend.devices(server_id)

    def put(self, state, volume_id="9", server_id="1134", disk=False, stale=False, **more):
        """Add a row such as a worker leaves; ``disk``: with the disk there."""
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

    def take_over(self, state=None, volume_id="9", server_id="1134"):
        """Have another operation make the row its own, behind the worker's back."""
        row = self.row(volume_id, server_id)
        assert Registry(self.database).claim(row, state or row.state, "req-of-another")

    def pass_time(self, seconds):
        """Let time pass for all: the workers' clock and the rows' ages."""
        self.now += seconds
        with self.database.transaction() as connection:
            for row in connection.execute(table.select()).all():
                here = (table.c.volume_id == row.volume_id) & (table.c.server_id == row.server_id)
                moment = row.updated_at - datetime.timedelta(seconds=seconds)
                connection.execute(update(table).where(here).values(updated_at=moment))

    def set_server(self, server_id="1134", **changes):
        self.compute.known[server_id] = dataclasses.replace(self.compute.known[server_id], **changes)

    def delete_server(self, server_id="1134"):
        """Delete a server, wholly: neither compute API nor backend has it."""
        self.compute.delete(server_id)
        self.backend.disks.pop(server_id, None)

    def compute_is_down(self):
        self.compute.error = ComputeUnavailable("it does not answer")

    def agree(self):
        """Say whether registry and backend agree, and nothing is under way."""
        rows, servers = self.everything()
        return rows == {
            (server_id, volume_id, ATTACHED, device)
            for server_id, disks in servers.items()
            for volume_id, device in disks.items()
        }

    def everything(self):
        """Return rows and disks, without what differs each time."""
        rows = {(row.server_id, row.volume_id, row.state, row.device) for row in Registry(self.database).walk()}
        return rows, {server_id: dict(theirs) for server_id, theirs in self.backend.disks.items()}
