"""One domain: inspect its disks, attach and detach them."""

import queue
import time
from collections.abc import Callable
from contextlib import suppress

import libvirt

from ..base import AttachRefused, BackendError, BackendUnavailable, OutcomeUnknown, ServerNotFound
from .disks import Definition, Disk, View
from .errors import translate_read_errors, translate_write_errors
from .events import REMOVAL_FAILED, Removals

LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG

_MODIFIABLE_STATES = (
    libvirt.VIR_DOMAIN_NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF,
)

# Seconds between two inspections while waiting for an event: a lost connection loses its events, and a forked process
# receives none.
_POLL_INTERVAL = 1.0
_IDLE_INTERVAL = 0.05  # seconds between two looks at whether a domain is being changed


class Domain:
    """A domain of libvirt's."""

    def __init__(self, domain: libvirt.virDomain, removals: Removals) -> None:
        """Wrap a domain.

        :param domain: libvirt's object.
        :param removals: the removal events of the domain's connection.
        """
        self._domain = domain
        self._removals = removals

    @property
    def id(self) -> str:
        """The domain's UUID."""
        domain_id: str = self._domain.UUIDString()
        return domain_id

    @property
    def connection(self) -> libvirt.virConnect:
        """The connection to the domain's libvirt."""
        return self._domain.connect()

    def inspect(self) -> View:
        """Return the domain's live and persistent definitions.

        :raises BackendUnavailable: if libvirt can't be reached.
        :raises ServerNotFound: if the domain is gone.
        """
        with translate_read_errors():
            live = self._domain.XMLDesc(0) if self._domain.isActive() else None
            config = self._domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if self._domain.isPersistent() else None
        return View(live and Definition.parse(live), config and Definition.parse(config))

    def check_modifiable(self) -> None:
        """Check that the domain is in a state in which its disks may be changed.

        :raises AttachRefused: if it is not.
        :raises BackendUnavailable: if libvirt can't be reached.
        :raises ServerNotFound: if the domain is gone.
        """
        with translate_read_errors():
            state, _ = self._domain.state()
            saved = not self._domain.isActive() and self._domain.hasManagedSaveImage()
        if state not in _MODIFIABLE_STATES:
            raise AttachRefused("The server is suspended, shutting down or crashed; resume or stop it first.")
        if saved:
            raise AttachRefused("The server's memory is saved to a file; start the server first.")

    def wait_until_idle(self, deadline: float) -> None:
        """Wait until no call changes the domain as it runs: one that attaches a disk does not show it before it ends.

        :param deadline: when to give up, by ``time.monotonic``.
        :raises BackendUnavailable: if one still does, or libvirt can't be reached.
        :raises ServerNotFound: if the domain is gone.
        """
        with translate_read_errors():
            while self._is_busy():
                if time.monotonic() >= deadline:
                    raise BackendUnavailable(f"another call is changing the domain {self.id}")
                time.sleep(_IDLE_INTERVAL)

    def _is_busy(self) -> bool:
        try:
            return bool(self._domain.isActive() and self._domain.controlInfo()[0] != libvirt.VIR_DOMAIN_CONTROL_OK)
        except libvirt.libvirtError as error:
            # Not each hypervisor tells, and none does of a domain that has just stopped.
            if error.get_error_code() in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID):
                return False
            raise

    def attach_device(self, xml: str, view: View, volume_id: str) -> None:
        """Add a disk to the definitions that lack it: the live one, the persistent one, or both.

        :param xml: the disk.
        :param view: the domain as it was inspected last.
        :param volume_id: the volume that the disk is.
        :raises BackendError: as ``translate_write_errors`` does.
        """
        definitions = ((view.live, LIVE), (view.config, CONFIG))
        flags = sum(flag for definition, flag in definitions if definition and not definition.of(volume_id))
        with translate_write_errors(f"attach volume {volume_id} to domain {self._domain.name()}"):
            self._domain.attachDeviceFlags(xml, flags)

    def check_source(self, device: str) -> None:
        """Check that a disk's file exists; libvirt itself checks that only when the domain starts.

        :param device: the disk, such as ``/dev/vdb``.
        :raises AttachRefused: if the file does not exist.
        """
        with translate_write_errors(f"inspect {device} of domain {self._domain.name()}"):
            self._domain.blockInfo(device.removeprefix("/dev/"))

    def remove_from_config(self, volume_id: str) -> None:
        """Remove a volume from the persistent definition, if it is there.

        :param volume_id: the volume.
        :raises BackendError: as ``translate_write_errors`` does.
        """
        for disk in self._config_disks(volume_id):
            try:
                with translate_write_errors(
                    f"detach volume {volume_id} from the configuration of domain {self._domain.name()}"
                ):
                    self._domain.detachDeviceFlags(disk.xml, CONFIG)
            except AttachRefused:
                if self._config_disks(volume_id):  # otherwise a concurrent call has removed it
                    raise

    def detach_device(self, volume_id: str, deadline: float, on_requested: Callable[[], None]) -> None:
        """Remove a volume from the live definition, if it is there, and wait until the guest has released it.

        :param volume_id: the volume.
        :param deadline: when to give up, by ``time.monotonic``; libvirt itself waits for 5 seconds.
        :param on_requested: is called when the guest has been asked.
        :raises OutcomeUnknown: if the guest has not released it by then, or refused to.
        """
        disks = self._live_disks(volume_id)
        if not disks:
            return
        with self._removals.watch(self.id, {disk.alias for disk in disks if disk.alias}) as events:
            errors = [self._request_removal(volume_id, disk) for disk in disks]
            on_requested()
            while self._live_disks(volume_id):
                left = deadline - time.monotonic()
                if left <= 0:
                    details = "".join(f": {error}" for error in errors if error)
                    raise OutcomeUnknown(f"the guest did not release volume {volume_id} in time{details}")
                with suppress(queue.Empty):
                    if events.get(timeout=min(left, _POLL_INTERVAL)) == REMOVAL_FAILED:
                        raise OutcomeUnknown(f"the guest refused to release volume {volume_id}")

    def disk_size(self, volume_id: str) -> int | None:
        """Return the bytes of a volume's disk, as the guest sees it.

        :returns: None if the domain does not run or does not have the volume, or if its data is encrypted.
        :raises BackendUnavailable: if libvirt can't tell.
        :raises ServerNotFound: if the domain is gone.
        """
        disk = self._sized_disk(volume_id)
        if disk is None:
            return None
        try:
            with translate_read_errors():
                return int(self._domain.blockInfo(disk.target)[0])
        except BackendUnavailable:
            if self._sized_disk(volume_id):  # otherwise it has just left
                raise
            return None

    def resize_disk(self, volume_id: str, size: int) -> None:
        """Make a volume's disk larger, if the domain as it runs has it.

        :param volume_id: the volume.
        :param size: bytes, more than it has.
        :raises BackendError: as ``translate_write_errors`` does.
        """
        disk = self._sized_disk(volume_id)
        if disk is None:
            return
        with translate_write_errors(f"resize volume {volume_id} of domain {self._domain.name()} to {size} bytes"):
            if disk.is_raw_file:  # QEMU would cut off what the file has beyond the size
                size = max(size, self._domain.blockInfo(disk.target)[2])
            self._domain.blockResize(disk.target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)

    def _sized_disk(self, volume_id: str) -> Disk | None:
        """Return the disk of a volume whose size can be compared with it, if the domain as it runs has one."""
        return next((disk for disk in self._live_disks(volume_id) if disk.device and not disk.is_encrypted), None)

    def _request_removal(self, volume_id: str, disk: Disk) -> BackendError | None:
        """Ask the guest to release a disk; return the error, which does not prevent the guest from doing so."""
        try:
            with translate_write_errors(f"detach volume {volume_id} from domain {self._domain.name()}"):
                # Not detachDeviceAlias: libvirtd 9.0 crashes when it is called several times at once.
                self._domain.detachDeviceFlags(disk.xml, LIVE)
        except ServerNotFound:
            raise
        except BackendError as error:  # such as: an earlier request is still pending
            return error
        return None

    def _live_disks(self, volume_id: str) -> list[Disk]:
        live = self.inspect().live
        return live.of(volume_id) if live else []

    def _config_disks(self, volume_id: str) -> list[Disk]:
        config = self.inspect().config
        return config.of(volume_id) if config else []
