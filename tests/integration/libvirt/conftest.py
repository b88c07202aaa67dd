"""One libvirtd for the whole session, and what the tests plug into its virtual machines."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.libvirt.real_libvirt import COMMANDS, IDS, Libvirtd, Machine
from tests.support.paths import ROOT
from tests.support.services import require_service


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
