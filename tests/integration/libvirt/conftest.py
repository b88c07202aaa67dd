"""What the libvirt tests share: targets of iSCSI."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.libvirt.real_libvirt import Libvirtd, Target
from tests.support.services import require_service


@pytest.fixture
def iscsi_target(libvirtd: Libvirtd, tmp_path: Path, free_port: int) -> Iterator[Target]:
    """Give a target whose unit 1 begins with ``over the net``."""
    require_service(shutil.which("tgtd"), "tgtd not found: tools/install-system-packages installs it")
    image = libvirtd.image()
    image.write_bytes(b"over the net".ljust(8 * 2**20))
    target = Target(tmp_path, free_port, image)
    yield target
    target.end()
