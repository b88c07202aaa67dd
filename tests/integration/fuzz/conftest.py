"""The sample, served to be fuzzed."""

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from served import Sample

PASTE = Path(__file__).parents[3] / "etc" / "api-paste.ini"
# With one heap for all threads, what the others have freed is not taken for what is lost.
COMMAND = (
    "MALLOC_ARENA_MAX=1",
    f"PYTHONPATH={Path(__file__).parent}",
    *(sys.executable, "-m", "os_volume_ext.cli.main", "serve"),
)


@pytest.fixture
def serve(start_server: Callable[..., "Popen[bytes]"], free_port: int, tmp_path: Path) -> Callable[..., Sample]:
    """Give ``serve(how)``: the sample, whose state is its own. ``how`` is what ``sabotage`` does to it."""

    def start(how: str | None = None) -> Sample:
        paste = PASTE
        if how is not None:
            paste = tmp_path / "api-paste.ini"
            pipelines = PASTE.read_text().replace(" auth volumes_", " auth sabotage volumes_")
            paste.write_text(
                f"{pipelines}\n[filter:sabotage]\npaste.filter_factory = sabotage:filter_factory\nhow = {how}\n"
            )
        options = ("--paste", paste, "--var", tmp_path / "var", "--port", str(free_port))
        process = start_server(*COMMAND, *options, port=free_port)
        return Sample(free_port, process, tmp_path / f"server-{free_port}.log")

    return start


@pytest.fixture
def fuzzed(serve: Callable[..., Sample]) -> Sample:
    """Give the sample as it is."""
    return serve()
