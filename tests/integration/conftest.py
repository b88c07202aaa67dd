"""What the integration tests share: commands, servers that are waited for and always ended, and real services."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.libvirt.real_libvirt import COMMANDS, IDS, Libvirtd, Machine
from tests.support import ceph as real_ceph
from tests.support import ports, real_keystone, wsgi_service
from tests.support.paths import DOCS, ROOT
from tests.support.services import require_service

START_TIMEOUT = 30  # seconds that a server may take until its port responds
TIMES = int(os.environ.get("TORTURE", "1"))


def _environment(**more: str) -> dict[str, str]:
    """Leave out what would let a command find this checkout by accident; have one that crashes print its threads."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"PYTHONFAULTHANDLER": "1"} | more


@pytest.fixture(scope="session")
def times() -> int:
    """Give how many times as much is to be done as in an ordinary run, which does enough to be believed."""
    return TIMES


@pytest.fixture(scope="session")
def run_command() -> Callable[..., str]:
    """Give ``run_command(*command, cwd=DIRECTORY, **environment)``: what it printed; the test fails if it does."""

    def run(*command: str | Path, cwd: Path, **environment: str) -> str:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=_environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def free_port() -> int:
    """Give a free port of 127.0.0.1."""
    return ports.free_port()


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            pass
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"{process.args} exited {process.returncode}\n{log.read_text()}")
    pytest.fail(f"{process.args} does not respond on port {port}\n{log.read_text()}")


@contextlib.contextmanager
def _ending_servers(directory: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str | Path, port: int) -> subprocess.Popen[bytes]:
        log = directory / f"server-{port}.log"
        with log.open("wb") as output:
            # Under a shell's "&" the tests, and so what they start, would ignore SIGINT.
            process = subprocess.Popen(
                ["env", "--default-signal=INT", *command],
                cwd=directory,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        _wait_for_port(port, process, log)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
    for log in sorted(directory.glob("server-*.log")):
        print(log.read_text(errors="replace"))  # part of the report if the test fails


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Give ``start_server(*command, port=PORT)``: the process, once its port responds."""
    with _ending_servers(tmp_path) as start:
        yield start


@pytest.fixture(scope="session")
def start_lasting_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Give the same for a server that serves the whole session."""
    with _ending_servers(tmp_path_factory.mktemp("server")) as start:
        yield start


@pytest.fixture(scope="session")
def service_venv() -> Callable[[str], Path]:
    """Give ``service_venv(name)``: the virtualenv of that name; where it can't be made, the test is skipped."""

    def get(name: str) -> Path:
        try:
            return wsgi_service.venv(name)
        except RuntimeError as error:
            require_service(False, f"no {name} to test with: tools/make-venv {name} failed: {error}")

    return get


@pytest.fixture(scope="session")
def keystone(
    service_venv: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[real_keystone.Keystone]:
    """Give the one Keystone of the session."""
    keystone = real_keystone.Keystone(service_venv("keystone"), tmp_path_factory.mktemp("keystone"))
    keystone.bootstrap()
    with keystone.serving():
        yield keystone


@pytest.fixture(scope="session")
def people(keystone: real_keystone.Keystone) -> real_keystone.People:
    """Give who is in Keystone."""
    return real_keystone.fill(keystone)


@pytest.fixture(scope="session")
def libvirtd() -> Iterator[Libvirtd]:
    """Give the daemon."""
    missing = [command for command in COMMANDS if not shutil.which(command)]
    require_service(not missing, f"{', '.join(missing)} not found: tools/install-system-packages installs them")
    daemon = Libvirtd()
    daemon.start()
    yield daemon
    daemon.remove()


@pytest.fixture(scope="session")
def guest(libvirtd: Libvirtd) -> Path:
    """Give the directory with a small Linux, where the daemon's user can read it."""
    done = subprocess.run([ROOT / "tools" / "make-guest"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    require_service(done.returncode == 0, f"no guest to test with: tools/make-guest failed: {done.stderr}")
    return libvirtd.give(Path(shutil.copytree(done.stdout.strip(), libvirtd.directory / "guest")))


@pytest.fixture(scope="session")
def two_machines(libvirtd: Libvirtd) -> list[Machine]:
    """Give two machines with SCSI and no operating system, to be left as they were."""
    return [libvirtd.machine(bus="scsi", crowded=True).start() for _ in range(2)]


@pytest.fixture(scope="session")
def two_guests(libvirtd: Libvirtd, guest: Path) -> list[Machine]:
    """Give two machines with virtio and a Linux, servers of the sample's, to be left as they were."""
    return [libvirtd.machine(bus="virtio", server_id=each, guest=guest).start() for each in IDS]


@pytest.fixture
def machine(libvirtd: Libvirtd) -> Iterator[Callable[..., Machine]]:
    """Give ``machine(bus, ...)``: a new one, which runs until the test ends."""
    made: list[Machine] = []

    def make(bus: str, **options) -> Machine:
        made.append(libvirtd.machine(bus=bus, **options))
        return made[-1].start()

    yield make
    for each in made:
        each.hang_up()
        each.kill()


@pytest.fixture(scope="session")
def ceph() -> Iterator[real_ceph.Ceph]:
    """Give the cluster, to be left running."""
    with real_ceph.running() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def new_secret(libvirtd: Libvirtd) -> Callable[[str], str]:
    """Give ``new_secret(key)``: define a secret of libvirt's and return its UUID."""
    return libvirtd.define_ceph_secret


@pytest.fixture(scope="session")
def secret(ceph: real_ceph.Ceph, new_secret: Callable[[str], str]) -> str:
    """Give the UUID of the secret with the key of Cinder's user."""
    return new_secret(ceph.key())


@pytest.fixture(scope="session")
def ceph_conf(libvirtd: Libvirtd, ceph: real_ceph.Ceph) -> Path:
    """Give the file that QEMU and the fence read: the one of the page, with the cluster's address and keyring."""
    lines = (DOCS / "ceph" / "ceph.conf").read_text().splitlines()
    values = {"mon host": f"v1:127.0.0.1:{ceph.port}", "keyring": str(ceph.keyring())}
    names = [line.partition(" = ")[0] for line in lines]
    assert values.keys() <= set(names)
    path = libvirtd.directory / "ceph.conf"
    path.write_text(
        "".join(
            f"{name} = {values[name]}\n" if name in values else f"{line}\n"
            for name, line in zip(names, lines, strict=True)
        )
    )
    return path
