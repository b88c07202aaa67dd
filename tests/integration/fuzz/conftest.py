"""The sample, served to be fuzzed."""

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from tests.integration.fuzz.served import Sample
from tests.support.paths import PASTE, ROOT

# With one heap for all threads, what the others have freed is not taken for what is lost.
COMMAND = (
    "MALLOC_ARENA_MAX=1",
    f"PYTHONPATH={ROOT}",
    *(sys.executable, "-m", "os_volume_ext.cli.main", "serve"),
)


@pytest.fixture
def serve(start_server: Callable[..., "Popen[bytes]"], free_port: int, tmp_path: Path) -> Callable[..., Sample]:
    """Give ``serve(how)``: the sample with a state of its own; ``how`` names the fault to inject, if any."""

    def start(how: str | None = None) -> Sample:
        paste = PASTE
        if how is not None:
            paste = tmp_path / "api-paste.ini"
            pipelines = PASTE.read_text().replace(" auth volumes_", " auth fault_injection volumes_")
            paste.write_text(
                f"{pipelines}\n[filter:fault_injection]\n"
                f"paste.filter_factory = tests.integration.fuzz.fault_injection:filter_factory\nhow = {how}\n"
            )
        options = ("--paste", paste, "--var", tmp_path / "var", "--port", str(free_port))
        process = start_server(*COMMAND, *options, port=free_port)
        return Sample(free_port, process, tmp_path / f"server-{free_port}.log")

    return start


@pytest.fixture
def fuzzed(serve: Callable[..., Sample]) -> Sample:
    """Give the sample as it is."""
    return serve()
