"""One domain: what disks it has, and how they come and go."""

import queue
import time
from contextlib import suppress

import libvirt

from ..base import AttachRefused, BackendError, OutcomeUnknown, ServerNotFound
from .disks import Definition, Disk, View
from .errors import changing, looking
from .events import REMOVAL_FAILED, Removals

LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG

_FIT = (
    libvirt.VIR_DOMAIN_NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF,
)
_LOOK_AGAIN = 1.0  # seconds: an event may be lost with its connection, and a forked process gets none


class Domain:
    """A domain of libvirt's."""

    def __init__(self, domain: libvirt.virDomain, removals: Removals) -> None:
        """:param domain: libvirt's own object. :param removals: tells what becomes of its devices."""
        self._domain = domain
        self._removals = removals

    def look(self) -> View:
        """Return what it has now and what it will have. :raises BackendUnavailable, ServerNotFound: if no one knows."""
        with looking():
            live = self._domain.XMLDesc(0) if self._domain.isActive() else None
            config = self._domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if self._domain.isPersistent() else None
        return View(live and Definition.parse(live), config and Definition.parse(config))

    def check_takes_changes(self) -> None:
        """:raises AttachRefused: if it is in a state in which its disks should stay as they are."""
        with looking():
            state, _ = self._domain.state()
            saved = not self._domain.isActive() and self._domain.hasManagedSaveImage()
        if state not in _FIT:
            raise AttachRefused("the server is suspended, shutting down or crashed")
        if saved:
            raise AttachRefused("the server's memory is saved to a file: start it first")

    def plug(self, xml: str, view: View, volume_id: str) -> None:
        """Add a disk where it is missing: now, from the next start on, or both. :raises BackendError: see there."""
        parts = ((view.live, LIVE), (view.config, CONFIG))
        flags = sum(flag for part, flag in parts if part and not part.of(volume_id))
        with changing(f"attach volume {volume_id} to domain {self._domain.name()}"):
            self._domain.attachDeviceFlags(xml, flags)

    def check_source(self, device: str) -> None:
        """See whether a disk's file is there, which libvirt does not until the domain starts.

        :raises AttachRefused: if not.
        """
        with changing(f"look at {device} of domain {self._domain.name()}"):
            self._domain.blockInfo(device.removeprefix("/dev/"))

    def drop(self, volume_id: str) -> None:
        """Leave a volume out from the next start on. :raises BackendError: see there."""
        for disk in self._config_disks(volume_id):
            try:
                with changing(f"detach volume {volume_id} from the configuration of domain {self._domain.name()}"):
                    self._domain.detachDeviceFlags(disk.xml, CONFIG)
            except AttachRefused:
                if self._config_disks(volume_id):  # else somebody else was faster
                    raise

    def unplug(self, volume_id: str, patience: float) -> None:
        """Take a volume away now, and wait until the guest has let go of it.

        :param patience: seconds to wait; libvirt itself waits 5.
        :raises OutcomeUnknown: with the reason, if it is still there then.
        """
        disks = self._live_disks(volume_id)
        if not disks:
            return
        deadline = time.monotonic() + patience
        with self._removals.watch(self._domain.UUIDString(), {disk.alias for disk in disks}) as events:
            reasons = [self._ask_to_let_go(volume_id, disk) for disk in disks]
            while self._live_disks(volume_id):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise OutcomeUnknown(f"the guest has not let go of volume {volume_id}{''.join(reasons)}")
                with suppress(queue.Empty):
                    if events.get(timeout=min(left, _LOOK_AGAIN)) == REMOVAL_FAILED:
                        raise OutcomeUnknown(f"the guest refused to let go of volume {volume_id}")

    def _ask_to_let_go(self, volume_id: str, disk: Disk) -> str:
        """Ask the guest; return what is to be said of that should the disk stay."""
        try:
            with changing(f"detach volume {volume_id} from domain {self._domain.name()}"):
                # Not detachDeviceAlias: called several times at once, it brings libvirtd 9.0 down.
                self._domain.detachDeviceFlags(disk.xml, LIVE)
        except ServerNotFound:
            raise
        except BackendError as error:  # perhaps it was asked before and is about to
            return f": {error}"
        return ""

    def _live_disks(self, volume_id: str) -> list[Disk]:
        live = self.look().live
        return live.of(volume_id) if live else []

    def _config_disks(self, volume_id: str) -> list[Disk]:
        config = self.look().config
        return config.of(volume_id) if config else []
