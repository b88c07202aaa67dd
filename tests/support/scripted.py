"""A registry, a backend, a compute API and a catalog to which anything can happen, and an observer that records.

``Hooks.at`` runs something before or after a step of the registry or of the backend, such as a whole other operation;
then the first one continues. So steps of operations that run at once are put in an order without threads.
"""

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

from os_volume_ext.backends.base import Backend, BackendUnavailable, DeviceInUse, ServerNotFound
from os_volume_ext.catalog.base import VolumeNotFound
from os_volume_ext.errors import ServerMissing
from os_volume_ext.observers.base import Observer
from os_volume_ext.registry.attachments import Registry
from tests.support.failpoints import step
from tests.support.waiting import TIMEOUT


class Died(BaseException):
    """The worker process died."""


def die():
    """End the worker, as its code sees it."""
    raise Died


class Hooks:
    """Actions to run the next time that a step is reached."""

    def __init__(self):
        self.actions = defaultdict(list)

    def at(self, step, *actions):
        self.actions[step] += actions

    def reached(self, step):
        if self.actions[step]:
            self.actions[step].pop(0)()


class ScriptedRegistry(Registry):
    """A registry, with steps such as ``before confirm`` and ``after confirm``."""

    def __init__(self, database, hooks):
        super().__init__(database)
        self._hooks = hooks

    def changed(self, method, arguments, response):
        """Do nothing; a subclass may record the change at once."""

    def _step(self, method, *arguments, **named):
        with step(self._hooks.reached, method):
            response = getattr(super(), method)(*arguments, **named)
            self.changed(method, arguments, response)
        return response

    def reserve(self, row, limit=None):
        return self._step("reserve", row, limit)

    def transfer(self, seen, row, limit=None):
        return self._step("transfer", seen, row, limit)

    def claim(self, seen, row):
        return self._step("claim", seen, row)

    def confirm(self, seen, device):
        return self._step("confirm", seen, device)

    def restore(self, seen, prior):
        return self._step("restore", seen, prior)

    def restamp(self, seen):
        return self._step("restamp", seen)

    def remove(self, seen):
        return self._step("remove", seen)

    def find_conflicting(self, new):
        return self._step("find_conflicting", new)


class ScriptedBackend(Backend):
    """Servers with disks, in memory; ``sizes`` has the bytes of a server's disk of a volume where they are known.

    Faults are functions, one for each coming call of a method. They get the effect of the call as a function, and
    call it or not before they return or raise.
    """

    def __init__(self, hooks):
        self.disks = {}
        self.sizes = {}
        self.calls = []
        self.faults = defaultdict(list)
        self.violations = []
        self.lost = set()  # servers that do not respond
        self.clients = {}  # of the storage, by server
        self.cut = set()  # servers and volumes
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

    def call(self, method, effect, server, *arguments):
        self.calls.append((method, server.id, *(volume.id for volume in arguments)))
        with step(self._hooks.reached, f"backend {method}"):
            return (self.faults[method].pop(0) if self.faults[method] else perform)(effect)

    def attach(self, server, volume, device):
        return self.call("attach", lambda: self.do_attach(server, volume, device), server, volume)

    def detach(self, server, volume, device):
        return self.call("detach", lambda: self.do_detach(server, volume), server, volume)

    def attached(self, server):
        return self.call("attached", lambda: dict(self._server(server)), server)

    def disk_size(self, server, volume):
        return self.call("disk_size", lambda: self.do_look(server, volume), server, volume)

    def resize(self, server, volume):
        return self.call("resize", lambda: self.do_resize(server, volume), server, volume)

    def do_look(self, server, volume):
        return self.sizes.get((server.id, volume.id)) if volume.id in self._server(server) else None

    def do_resize(self, server, volume):
        if volume.id in self._server(server) and volume.size > (self.sizes.get((server.id, volume.id)) or 0):
            self.sizes[server.id, volume.id] = volume.size

    def find_clients(self, server, volume):
        return self.call("find_clients", lambda: self.clients[server.id], server, volume)

    def cut_off(self, server, volume, clients):
        return self.call("cut_off", lambda: self.do_cut_off(server, volume, clients), server, volume)

    def do_cut_off(self, server, volume, clients):
        assert set(clients) >= set(self.clients[server.id])
        self.cut.add((server.id, volume.id))

    def do_attach(self, server, volume, device):
        disks = self._server(server)
        if volume.id not in disks:
            if device in disks.values():
                raise DeviceInUse(f"{device} is in use")
            elsewhere = [
                each for each, theirs in self.disks.items() if volume.id in theirs and (each, volume.id) not in self.cut
            ]
            if elsewhere and not volume.multiattach:
                self.violations.append(f"I1: {volume.id} is in {elsewhere} and {server.id}")
            free = (f"/dev/vd{letter}" for letter in "bcdefgh")
            disks[volume.id] = device or next(each for each in free if each not in disks.values())
            self.sizes[server.id, volume.id] = volume.size
            self.cut.discard((server.id, volume.id))
        return disks[volume.id]

    def do_detach(self, server, volume):
        self._server(server).pop(volume.id, None)
        self.cut.discard((server.id, volume.id))

    def come_back(self, server_id):
        """Let the host of a server respond again, after its operator has removed the disks of cut off volumes."""
        self.lost.discard(server_id)
        for each in [each for each in self.cut if each[0] == server_id]:
            self.disks.get(server_id, {}).pop(each[1], None)
            self.cut.discard(each)

    def _server(self, server):
        if server.id in self.lost:
            raise BackendUnavailable(f"the host of {server.id} does not respond")
        if server.id not in self.disks:
            raise ServerNotFound(f"there is no server {server.id}")
        return self.disks[server.id]


def perform(effect):
    """Apply the effect."""
    return effect()


def refuse(error):
    """Return a fault that does nothing and raises an error."""

    def fault(effect):
        raise error

    return fault


def succeed_and_raise(error):
    """Return a fault that applies the effect and raises an error all the same."""

    def fault(effect):
        effect()
        raise error

    return fault


def hang(started, resume):
    """Return a fault that applies the effect once ``resume`` is set."""

    def fault(effect):
        started.set()
        assert resume.wait(TIMEOUT)
        return effect()

    return fault


class ScriptedCompute:
    """The compute API, within a request and, as ``remote``, outside of one."""

    def __init__(self):
        self.known = {}
        self.error = None
        self.shows_all = False
        self.hidden = set()  # from all callers, but not from the operator
        self.shown_as_deleted = set()  # likewise
        self.requested = []
        self.remote = SimpleNamespace(server=self._look_up_existing, servers=self._list)

    def add(self, server):
        self.known[server.id] = server

    def delete(self, server_id):
        del self.known[server_id]

    def server(self, context, server_id):
        server = self._look_up(server_id)
        if server_id in self.hidden:
            raise ServerMissing(server_id)
        if not (self.shows_all or context.is_admin or server.project_id == context.project_id):
            raise ServerMissing(server_id)
        return replace(server, status="DELETED") if server_id in self.shown_as_deleted else server

    def find(self, context, server_id):
        return self.server(context, server_id)

    def _look_up_existing(self, server_id):
        server = self._look_up(server_id)
        if server.is_deleted:
            raise ServerMissing(server_id)
        return server

    def _look_up(self, server_id):
        self.requested.append(server_id)
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
    """The volumes, by id, and ``(volume, server)`` of those that were deleted."""

    can_delete = True

    def __init__(self, hooks):
        self._hooks = hooks
        self.known = {}
        self.deleted = []
        self.fail = None

    def add(self, *volumes):
        self.known.update((volume.id, volume) for volume in volumes)

    def volume(self, context, volume_id):
        if volume_id not in self.known:
            raise VolumeNotFound(volume_id)
        return self.known[volume_id]

    def recheck(self, context, volume_id):
        with step(self._hooks.reached, "recheck"):
            return self.volume(context, volume_id)

    def delete(self, *, volume_id, server_id=None, project_id=None):
        if self.fail:
            raise self.fail
        if volume_id not in self.known or project_id not in (None, self.known[volume_id].project_id):
            raise VolumeNotFound(volume_id)
        del self.known[volume_id]
        self.deleted.append((volume_id, server_id))


class Listener(Observer):
    """Records ``(what, action, volume, server, device)`` of each operation, when it is reported."""

    def __init__(self):
        self.events = []
        self.operations = []
        self.calls = []
        self.overloads = 0
        self.timeouts = 0
        self.without_slot_changes = []

    def started(self, operation):
        self.record("begun", operation)

    def finished(self, operation):
        self.record("done" if operation.error is None else type(operation.error).__name__, operation)
        self.operations.append(operation)

    def backend_called(self, method, seconds, error):
        self.calls.append((method, error))

    def overloaded(self):
        self.overloads += 1

    def timed_out(self):
        self.timeouts += 1

    def without_slot(self, change):
        self.without_slot_changes.append(change)

    def record(self, what, operation):
        self.events.append((what, operation.action, operation.volume_id, operation.server_id, operation.device))
