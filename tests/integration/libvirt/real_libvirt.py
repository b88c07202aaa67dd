"""A real libvirtd with QEMU, of our own: a session daemon with all its state in one directory; and virtual machines."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path

from lxml import etree

from os_volume_ext.backends.base import Backend, Server, Volume
from tests.support import luks
from tests.support.paths import DOCS
from tests.support.services import require_service
from tests.support.waiting import TIMEOUT

DOCUMENTED_SECRET = "5ecae0b2-7f0f-4c6f-8a36-9a1c0b7d3e21"
COMMANDS = ("libvirtd", "virsh", "qemu-system-x86_64", "qemu-img")

# As root, libvirtd would be the system's. QEMU then runs as the user nobody too, which must reach its files.
USER = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

# Two servers of the sample's: their UUIDs and the names of their domains.
IDS = {
    "4335bab6-6086-4247-8274-8b8b048edaaa": "snf-1134",
    "20f0cb44-7b00-4019-a612-364777cd2931": "snf-1135",
}
ROOM = 8  # for how many volumes a machine has places


def _other_scsi_units() -> str:
    """Take the places that are too many to be filled in tests, with empty drives."""
    letters = [first + second for first in " abcdefghi" for second in "abcdefghijklmnopqrstuvwxyz"]
    return "".join(
        f"<disk type='file' device='cdrom'><target dev='sd{letters[unit].strip()}' bus='scsi'/>"
        f"<address type='drive' controller='0' unit='{unit}'/></disk>"
        for unit in range(ROOM, 256)
    )


BUSES = {
    "scsi": "<controller type='scsi' index='0' model='virtio-scsi'/>",
    "virtio": "<controller type='pci' model='pcie-root-port'/>" * ROOM,
}


def backend_class() -> type[Backend]:
    """Return the backend's class, or skip the module that calls this."""
    binding = find_spec("libvirtmod")
    require_service(binding, "libvirt's Python binding is missing: pip install '.[libvirt]'", allow_module_level=True)
    from os_volume_ext.backends.libvirt.backend import LibvirtBackend

    return LibvirtBackend


def wait_for(what: str, condition, timeout: float = TIMEOUT):
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout} seconds"
        time.sleep(0.02)
    return found


class Libvirtd:
    """The daemon. Its virtual machines outlive it until ``remove``."""

    def __init__(self) -> None:
        # Not in pytest's directory: the path of a socket may have 107 letters, and its owner is another user.
        self.directory = Path(tempfile.mkdtemp(prefix="os-volume-ext-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._machines: list[Machine] = []
        config = self.directory / "config" / "libvirt"
        config.mkdir(parents=True)
        (self.directory / "run").mkdir()
        (config / "qemu.conf").write_text('stdio_handler = "file"\n')  # without virtlogd
        self.give(self.directory)

    def give(self, path: Path) -> Path:
        """Let the daemon's user have what is there."""
        if USER:
            for each in (path, *path.rglob("*")):
                os.chown(each, USER.pw_uid, USER.pw_gid)
        return path

    @property
    def uri(self) -> str:
        """The URI of its socket."""
        return f"qemu:///session?socket={self.socket}"

    @property
    def socket(self) -> Path:
        """The path of its socket."""
        return self.directory / "run" / "libvirt" / "libvirt-sock"

    def start(self) -> None:
        """Start it and wait until it responds; do nothing if it runs, which a test that fails may not expect."""
        if self.runs():
            return
        names = {"RUNTIME_DIR": "run", "CONFIG_HOME": "config", "CACHE_HOME": "cache", "DATA_HOME": "data"}
        directories = {f"XDG_{name}": str(self.directory / directory) for name, directory in names.items()}
        user = {"user": USER.pw_uid, "group": USER.pw_gid, "extra_groups": []} if USER else {}
        with (self.directory / "libvirtd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["libvirtd"],
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory), **directories},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **user,
            )
        wait_for("libvirtd's socket", self._responds)

    def _responds(self) -> bool:
        assert self.runs(), (self.directory / "libvirtd.log").read_text()
        try:
            with closing(socket.socket(socket.AF_UNIX)) as connection:
                connection.connect(str(self.socket))
        except OSError:
            return False
        return True

    def freeze(self) -> None:
        """Let it stop responding, for now."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def runs(self) -> bool:
        """Say whether it does."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash would."""
        process, self._process = self._process, None  # at once: while another thread waits, ``poll`` says that it runs
        if process is not None:
            process.kill()
            process.wait()

    def virsh(self, *arguments: str, succeed: bool = True) -> str:
        """Run virsh and return what it printed."""
        command = ["virsh", "--quiet", "--connect", self.uri, *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT)
        assert not succeed or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def define_ceph_secret(self, key: str, identity: str | None = None) -> str:
        """Define the secret of the page with a key of Ceph's, and return its UUID: a new one if none is given."""
        identity = identity or str(uuid.uuid4())
        path = self.directory / f"{identity}.xml"
        documented = (DOCS / "ceph" / "secret.xml").read_text()
        path.write_text(documented.replace(DOCUMENTED_SECRET, identity).replace("client.cinder", identity))
        self.virsh("secret-define", str(path))
        self.virsh("secret-set-value", identity, key)
        return identity

    def image(self, file_format: str = "raw", size: str = "4M") -> Path:
        """Make an empty image."""
        path = self.directory / f"{uuid.uuid4()}.img"
        subprocess.run(["qemu-img", "create", "-q", "-f", file_format, path, size], check=True)
        return self.give(path)

    def encrypted_image(self, passphrase: str) -> Path:
        """Make an image in LUKS format, of 4 MiB of plain bytes."""
        path = self.directory / f"{uuid.uuid4()}.img"
        luks.create(path, passphrase, "4M")
        return self.give(path)

    def volume(self, **values) -> Volume:
        """Make a volume with an image."""
        return Volume(str(uuid.uuid4()), "demo", **{"source": str(self.image()), "format": "raw"} | values)

    def machine(self, **options) -> "Machine":
        """Define a virtual machine; see ``Machine``."""
        self._machines.append(Machine(self, **options))
        return self._machines[-1]

    def remove(self) -> None:
        """End the daemon and the virtual machines, and remove the directory."""
        self.kill()
        for machine in self._machines:
            machine.hang_up()
            machine.kill()
        shutil.rmtree(self.directory)


class Machine:
    """A virtual machine without an operating system, or with the one that tools/make-guest makes."""

    def __init__(
        self,
        libvirtd: Libvirtd,
        bus: str,
        server_id: str | None = None,
        guest: Path | None = None,
        crowded: bool = False,
    ) -> None:
        """Define it.

        :param server_id: one of the sample's servers, otherwise it is a new one.
        :param guest: where the operating system's vmlinuz and initramfs are.
        :param crowded: whether it is so full of other SCSI devices that there is room for ROOM volumes.
        """
        self.libvirtd = libvirtd
        self.id = server_id or str(uuid.uuid4())
        self.name = IDS.get(self.id, f"snf-{self.id[:8]}")
        self.console: Console | None = None
        self._socket = libvirtd.directory / f"{self.id[:8]}.sock"
        self._has_guest = guest is not None
        # The firmware of a crowded one would be busy for long.
        self._start = ("start", self.name, *(["--paused"] if crowded else []))
        boot, serial = "", ""
        if guest:
            boot = (
                f"<kernel>{guest}/vmlinuz</kernel><initrd>{guest}/initramfs</initrd>"
                "<cmdline>console=ttyS0 quiet panic=-1</cmdline>"
            )
            serial = f"<serial type='unix'><source mode='bind' path='{self._socket}'/></serial>"
        document = f"""
            <domain type='qemu'>
              <name>{self.name}</name>
              <uuid>{self.id}</uuid>
              <memory unit='MiB'>{96 if guest else 16}</memory>
              <os><type arch='x86_64' machine='q35'>hvm</type>{boot}</os>
              <features><acpi/></features>
              <pm><suspend-to-mem enabled='yes'/></pm>
              <devices>
                <controller type='pci' index='0' model='pcie-root'/>
                <controller type='usb' model='none'/>
                {BUSES[bus]}{_other_scsi_units() if crowded else ""}
                {serial}
                <memballoon model='none'/>
              </devices>
            </domain>"""
        path = libvirtd.directory / f"{self.id}.xml"
        path.write_text(document)
        libvirtd.virsh("define", str(path))

    @property
    def server(self) -> Server:
        """The server that it is."""
        return Server(self.id, "demo", "ACTIVE")

    def start(self) -> "Machine":
        """Start it, and wait for the guest if there is one."""
        self.libvirtd.virsh(*self._start)
        if self._has_guest:
            self.console = Console(self._socket)
        return self

    def stop(self) -> None:
        """Pull the plug; ``virsh destroy`` takes longer."""
        self.hang_up()
        self.kill()
        wait_for("the machine's end", lambda: self.libvirtd.virsh("domstate", self.name, succeed=False) != "running")

    def kill(self) -> None:
        """Kill its QEMU."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Let its QEMU stop, for now."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.libvirtd.directory / "run" / "libvirt" / "qemu" / "run" / f"{self.name}.pid"
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(pid.read_text()), number)

    def hang_up(self) -> None:
        """Let go of the guest's serial line."""
        if self.console:
            self.console.close()

    def remove(self) -> None:
        """End it and forget it."""
        self.stop()
        self.libvirtd.virsh("undefine", self.name, succeed=False)

    def sleep(self) -> None:
        """Let the guest suspend itself to memory."""
        self.console.write("echo mem >/sys/power/state")
        wait_for("the guest's sleep", lambda: self.libvirtd.virsh("domstate", self.name) == "pmsuspended")

    def plug(self, target: str, source: str | Path, serial: str | None = None) -> str:
        """Attach a disk as an administrator does it, and return its device."""
        bus = "scsi" if target.startswith("sd") else "virtio"
        options = ("--targetbus", bus, *(("--serial", serial) if serial else ()), "--live", "--config")
        self.libvirtd.virsh("attach-disk", self.name, str(source), target, *options)
        return f"/dev/{target}"

    def unplug(self, target: str) -> None:
        """Detach a disk, whatever it is, or else restart."""
        for where in ("--config", "--live"):
            self.libvirtd.virsh("detach-disk", self.name, target, where, succeed=False)
        if target in self.blocks():
            self.stop()
            self.start()

    def clear(self) -> None:
        """Detach what was attached, or else restart."""
        for target in self.disks(inactive=True).values():
            self.libvirtd.virsh("detach-disk", self.name, target, "--config", succeed=False)
        for target in self.disks().values():
            self.libvirtd.virsh("detach-disk", self.name, target, "--live", succeed=False)
        if self.disks():
            self.stop()
            self.start()

    def disks(self, *, inactive: bool = False) -> Mapping[str, str]:
        """Say which serial number is at which target, by the domain's XML."""
        document = self.libvirtd.virsh("dumpxml", self.name, *(["--inactive"] if inactive else []))
        found = etree.fromstring(document).iterfind("devices/disk[serial]")
        return {disk.findtext("serial"): disk.find("target").get("dev") for disk in found}

    def control_state(self) -> str:
        """Say what its QEMU is doing for libvirt, by ``virsh domcontrol``."""
        return self.libvirtd.virsh("domcontrol", self.name)

    def blocks(self) -> Mapping[str, str]:
        """Say which source is at which target, by ``virsh domblklist``."""
        lines = self.libvirtd.virsh("domblklist", self.name).splitlines()
        return dict(line.split(maxsplit=1) for line in lines if line.strip())


class Console:
    """The serial line of a guest, which does what is written there."""

    def __init__(self, path: Path) -> None:
        """Connect, and wait until the guest is up."""
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(path))
        self._line.settimeout(0.2)
        self._received = ""
        # What is written before the guest listens is lost. The quotes are for a line that echoes what is written.
        wait_for("the guest's start", lambda: self.write("echo u''p") or self._receives("up\r\n"))

    def run(self, command: str) -> str:
        """Run a command in the guest and return what it printed. It fails if the command does."""
        mark = uuid.uuid4().hex
        self.write(f"echo begin''-{mark}; {command}; echo end''-{mark} $?")
        wait_for(f"{command!r} in the guest", lambda: self._receives(f"end-{mark} ", "\n"))
        printed, _, status = self._received.partition(f"begin-{mark}")[2].partition(f"end-{mark} ")
        self._received = ""
        assert status.strip() == "0", printed
        return printed.replace("\r\n", "\n").strip()

    def wait_for(self, device: str) -> None:
        """Wait until the guest has a device: it is notified of one after that is attached."""
        self.run(f"until test -e {device}; do usleep 10000; done")

    def write(self, command: str) -> None:
        """Write a line to the guest."""
        self._line.sendall(command.encode() + b"\n")

    def _receives(self, text: str, then: str = "") -> bool:
        with suppress(TimeoutError):
            self._received += self._line.recv(65536).decode(errors="replace")
        return then in self._received.partition(text)[2] if text in self._received else False

    def close(self) -> None:
        """Hang up."""
        self._line.close()


class Target:
    """A target of iSCSI, in user space, whose unit 1 is a file."""

    def __init__(self, directory: Path, port: int, image: Path) -> None:
        """Start it.

        :param directory: for its log and its socket.
        """
        self.image = image
        self._environment = os.environ | {"TGT_IPC_SOCKET": str(directory / "tgtd")}
        self.connection_info = {
            "driver_volume_type": "iscsi",
            "target_portal": f"127.0.0.1:{port}",
            "target_iqn": "iqn.2010-10.org.openstack:volume-9",
            "target_lun": 1,
        }
        command = ["tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{port}"]
        with (directory / "tgtd.log").open("wb") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        try:
            name = str(self.connection_info["target_iqn"])
            wait_for("the target", lambda: self._control("target", "new", targetname=name))
            assert self._control("logicalunit", "new", lun="1", **{"backing-store": str(image)})
            assert self._control("target", "bind", **{"initiator-address": "ALL"})
        except BaseException:
            self.end()
            raise

    def require_login(self, user: str, password: str) -> Mapping[str, object]:
        """Refuse initiators that do not log in; return the connection_info."""
        assert self._control("account", "new", user=user, password=password)
        assert self._control("account", "bind", user=user)
        return self.connection_info | {"auth_method": "CHAP", "auth_username": user, "auth_password": password}

    def end(self) -> None:
        """End it; it does not do so by itself while an initiator is connected."""
        self._process.kill()
        self._process.wait()

    def _control(self, what: str, action: str, **options: str) -> bool:
        target = {} if what == "account" and action == "new" else {"tid": "1"}
        values = {"lld": "iscsi", "op": action, "mode": what, **target, **options}
        command = ["tgtadm", *(part for name, value in values.items() for part in (f"--{name}", value))]
        return subprocess.run(command, env=self._environment, capture_output=True).returncode == 0
