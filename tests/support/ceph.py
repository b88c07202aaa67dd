"""A real Ceph cluster of one monitor and one OSD, with all its state in one directory, and a pool of images."""

import contextlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import luks
from tests.support.daemons import Daemon, as_user, directory_of, give, run
from tests.support.ports import free_port, ports_to_choose_from
from tests.support.services import require_service
from tests.support.waiting import wait_until

USER = "ceph"
COMMANDS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "rados", "rbd")
POOL = "volumes"
CLIENT = "cinder"
FENCE = f"rados:{POOL}?user={CLIENT}"
"""The option ``fence`` of the backend libvirt."""
CLIENT_CAPS = ("mon", "profile rbd", "osd", f"profile rbd pool={POOL}")
"""The capabilities that Ceph's documentation gives to Cinder's user."""
TIMEOUT = 60  # seconds for one command
# A restarted OSD finds its data in bluestore, unlike in memstore. The file is sparse.
CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{msgr2_port},v1:127.0.0.1:{port}]
public addr = 127.0.0.1
run dir = {directory}
admin socket = {directory}/$name.$pid.asok
log file = {directory}/$name.log
keyring = {directory}/$name.keyring
mon data = {directory}/$name
mgr data = {directory}/$name
mgr initial modules =
osd data = {directory}/$name
osd objectstore = bluestore
bluestore block size = 2147483648
ms bind port min = {first_port}
ms bind port max = {last_port}
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon osd down out interval = 0
"""


class Ceph:
    """The cluster."""

    def __init__(self, directory: Path) -> None:
        """Start nothing yet.

        :param directory: of the user USER; other users may enter it.
        """
        self.directory = directory
        self.port, self._msgr2_port = free_port(), free_port()
        self.conf = directory / "ceph.conf"
        ports = ports_to_choose_from()
        self._fsid = str(uuid.uuid4())
        self.conf.write_text(
            CONFIG.format(
                fsid=self._fsid,
                directory=directory,
                port=self.port,
                msgr2_port=self._msgr2_port,
                first_port=ports[0],
                last_port=ports[-1],
            )
        )
        self.monitor = self._daemon("ceph-mon", "a")
        self.osd = self._daemon("ceph-osd", "0")
        self.manager = self._daemon("ceph-mgr", "x")

    def start(self) -> None:
        """Make the cluster and start it; return when images can be made."""
        self._make_monitor()
        self.monitor.start()
        self._make_osd()
        self.osd.start()
        self.ceph("osd", "pool", "create", POOL, "8")
        self.ceph("osd", "pool", "application", "enable", POOL, "rbd")
        self.ceph("auth", "get-or-create", f"client.{CLIENT}", *CLIENT_CAPS, "-o", self._keyring(f"client.{CLIENT}"))
        self.rbd("create", "--size", "1M", f"{POOL}/first")

    def start_manager(self) -> None:
        """Start what counts the free space, which only Cinder asks for."""
        caps = ("mon", "allow profile mgr", "osd", "allow *")
        data = self.directory / "mgr.x"
        data.mkdir()
        give(USER, data)
        self.ceph("auth", "get-or-create", "mgr.x", *caps, "-o", self._keyring("mgr.x"))
        self.manager.start()

    def restart(self) -> None:
        """Start what was killed; return when images can be opened again."""
        self.kill()
        self.monitor.start()
        self.osd.start()
        assert wait_until(lambda: self._succeeds("rbd", "info", f"{POOL}/first")), self.osd.log

    def kill(self) -> None:
        """End monitor and OSD as ``kill -9`` does."""
        self.osd.kill()
        self.monitor.kill()

    def ceph(self, *arguments: str | Path) -> str:
        """Run ``ceph`` as the administrator; return what it printed."""
        return self._run("ceph", *arguments)

    def rbd(self, *arguments: str | Path) -> str:
        """Run ``rbd`` as the administrator; return what it printed."""
        return self._run("rbd", *arguments)

    def rados(self, *arguments: str | Path) -> str:
        """Run ``rados`` in the pool as the administrator; return what it printed."""
        return self._run("rados", "--pool", POOL, *arguments)

    def image(self, size: str = "4M") -> str:
        """Make an image in the pool; return its name."""
        name = f"volume-{uuid.uuid4()}"
        self.rbd("create", "--size", size, f"{POOL}/{name}")
        return name

    def encrypted_image(self, passphrase: str, size: str = "4M") -> str:
        """Make an image in LUKS format, of so many plain bytes; return its name."""
        name = f"volume-{uuid.uuid4()}"
        path = self.directory / name
        luks.create(path, passphrase, size)
        give(USER, path)
        self.rbd("import", "--no-progress", path, f"{POOL}/{name}")
        return name

    def read(self, image: str, length: int) -> bytes:
        """Return the first bytes of an image."""
        command = as_user(USER, *self._command("rbd", "export", "--no-progress", f"{POOL}/{image}", "-"))
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr
        return done.stdout[:length]

    def watchers(self, image: str) -> list[str]:
        """Return the addresses of the clients that have an image open."""
        status = json.loads(self.rbd("status", "--format", "json", f"{POOL}/{image}"))
        return [watcher["address"] for watcher in status["watchers"]]

    def holders(self, name: str) -> list[str]:
        """Return the tag of an object's lock, once for each client that holds it."""
        if name not in self.rados("ls").split():
            return []
        lock = json.loads(self.rados("lock", "info", name, "os-volume-ext", "--format", "json"))
        return [lock["tag"] for _ in lock["lockers"]]

    def key(self) -> str:
        """Return the key of CLIENT, in base64."""
        return self.ceph("auth", "print-key", f"client.{CLIENT}").strip()

    def keyring(self) -> Path:
        """Return the path of the keyring of CLIENT."""
        return self._keyring(f"client.{CLIENT}")

    def connection_info(self, image: str, secret_uuid: str | None, **members: Any) -> dict[str, Any]:
        """Return how to reach an image, as Cinder's RBD driver describes it.

        :param secret_uuid: of libvirt's secret.
        :param members: others, or other values.
        """
        return {
            "driver_volume_type": "rbd",
            "name": f"{POOL}/{image}",
            "hosts": ["127.0.0.1"],
            "ports": [str(self.port)],
            "cluster_name": "ceph",
            "auth_enabled": True,
            "auth_username": CLIENT,
            "secret_type": "ceph",
            "secret_uuid": secret_uuid,
            "volume_id": image.removeprefix("volume-"),
            "discard": True,
            "qos_specs": None,
            "access_mode": "rw",
            "encrypted": False,
            "cacheable": False,
        } | members

    def _make_monitor(self) -> None:
        keyring, monitors = self.directory / "monitors.keyring", self.directory / "monitors"
        addresses = f"[v2:127.0.0.1:{self._msgr2_port},v1:127.0.0.1:{self.port}]"
        admin = self._keyring("client.admin")
        every = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
        self._as_user("ceph-authtool", "-C", admin, "--gen-key", "-n", "client.admin", *every)
        self._as_user("ceph-authtool", "-C", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._as_user("ceph-authtool", keyring, "--import-keyring", admin)
        self._as_user("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", addresses, monitors)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", keyring)

    def _make_osd(self) -> None:
        identity = str(uuid.uuid4())
        data = self.directory / "osd.0"
        data.mkdir()
        give(USER, data)
        self.ceph("osd", "new", identity)
        caps = ("mon", "allow profile osd", "osd", "allow *")
        self.ceph("auth", "get-or-create", "osd.0", *caps, "-o", self._keyring("osd.0"))
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", identity)

    def _keyring(self, name: str) -> Path:
        return self.directory / f"{name}.keyring"

    def _daemon(self, program: str, name: str) -> Daemon:
        return Daemon(USER, self._command(program, "-i", name, "-f"), self.directory / f"{program}.out")

    def _command(self, program: str, *arguments: str | Path) -> list[str | Path]:
        return [program, "--conf", self.conf, *arguments]

    def _run(self, program: str, *arguments: str | Path) -> str:
        return self._as_user(*self._command(program, *arguments))

    def _as_user(self, *command: str | Path) -> str:
        return run(USER, *command, timeout=TIMEOUT)

    def _succeeds(self, *command: str) -> bool:
        program, *arguments = command
        line = as_user(USER, "timeout", "5", *self._command(program, *arguments))
        return subprocess.run(line, cwd="/", stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


@contextlib.contextmanager
def running() -> Iterator[Ceph]:
    """Give a cluster; skip the test where a program is missing, fail in CI."""
    missing = [command for command in COMMANDS if not shutil.which(command)]
    require_service(not missing, f"{', '.join(missing)} not found: tools/install-system-packages installs them")
    with directory_of(USER) as directory:
        directory.chmod(0o755)  # QEMU, another user, reads ceph.conf
        cluster = Ceph(directory)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.manager.kill()
            cluster.kill()
