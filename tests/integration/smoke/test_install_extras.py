"""``tools/install_extras.py``, with which ``make`` installs: what it prints of pip's output.

A module in the current directory stands for pip, so that nothing is downloaded.
"""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

COMMAND = (sys.executable, ROOT / "tools" / "install_extras.py", "serve")
TIMEOUT = 60  # seconds
OUTPUT = """\
Obtaining file:///checkout
  Installing build dependencies: started
  Installing build dependencies: finished with status 'done'
Collecting alembic>=1.13 (from os-volume-ext==0.1.0)
  Downloading alembic-1.20.1-py3-none-any.whl (270 kB)
Processing /cache/lxml-6.1.3-cp311-cp311-manylinux_2_28_x86_64.whl (from os-volume-ext==0.1.0)
Installing collected packages: lxml, alembic, os-volume-ext
Successfully installed alembic-1.20.1 lxml-6.1.3 os-volume-ext-0.1.0
"""


@pytest.fixture
def pip(tmp_path: Path) -> Callable[[str, int], None]:
    """Give ``pip(output, status)``: make pip print that, and exit with it."""

    def be(output: str, status: int) -> None:
        text = f"import sys\nassert sys.argv[-2:] == ['--editable', '.[serve]']\nprint({output!r}, end='')\n"
        (tmp_path / "pip.py").write_text(f"{text}sys.exit({status})\n")

    return be


def run(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(COMMAND, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT)


def run_on_a_terminal(directory: Path) -> str:
    ours, its = pty.openpty()
    with subprocess.Popen(COMMAND, cwd=directory, stdin=subprocess.DEVNULL, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # it has ended
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode()


def test_an_installation_prints_two_lines(pip: Callable[[str, int], None], tmp_path: Path) -> None:
    pip(OUTPUT, 0)
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, last = done.stdout.splitlines()
    assert first == f"Installing os-volume-ext[serve] and the packages that it needs into {sys.prefix}"
    assert last.startswith("Installed in ")


def test_a_terminal_shows_the_progress_in_one_line(pip: Callable[[str, int], None], tmp_path: Path) -> None:
    pip(OUTPUT, 0)
    _, rest = run_on_a_terminal(tmp_path).split("\r\n", 1)
    steps = [step.strip() for step in rest.split("\r") if step.strip()]
    assert steps[:-1] == [
        "package 1: alembic>=1.13",
        "package 2: lxml-6.1.3-cp311-cp311-manylinux_2_28_x86_64.whl",
        "installing 2 packages",
    ]
    assert steps[-1].startswith("Installed in ")
    assert rest.count("\n") == 1


def test_a_failure_shows_what_pip_printed_and_the_command(pip: Callable[[str, int], None], tmp_path: Path) -> None:
    output = "ERROR: No matching distribution found for alembic>=1.13\n"
    pip(output, 3)
    done = run(tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith(output)
    assert done.stderr.splitlines()[-1].startswith(f"failed: {sys.executable} -m pip install ")
