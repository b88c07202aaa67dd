"""``make serve PORT=... VAR=...``: what it serves, and what it prints to use the sample from another shell."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.services import require_service

BIN = Path(sys.executable).parent
TIMEOUT = 60  # seconds


@pytest.fixture
def printed(tmp_path: Path, free_port: int) -> list[str]:
    """Give the lines that ``make serve`` prints, where the virtualenv is complete and its command is ``echo``."""
    require_service(shutil.which("make"), "make is not installed")
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "os-volume-ext").symlink_to(shutil.which("echo"))
    options = ("--silent", "--no-print-directory", "--old-file=.venv/serve", f"BIN={directory}")
    done = subprocess.run(
        ["make", *options, "serve", f"PORT={free_port}", f"VAR={tmp_path / 'my state'}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def paste(
    printed: list[str], tmp_path: Path, free_port: int, start_server: Callable[..., subprocess.Popen[bytes]]
) -> Callable[[str], str]:
    """Give ``paste(command)``: what it prints in a shell, after the lines that ``make serve`` printed for it."""
    command, arguments = BIN / "os-volume-ext", ["--paste", ROOT / "etc/api-paste.ini"]
    start_server(command, "serve", *arguments, "--var", tmp_path / "my state", "--port", str(free_port), port=free_port)
    lines = [line for line in printed if line.startswith("    ")]

    def run(command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", "\n".join([*lines, command])],
            cwd=ROOT,
            env=os.environ | {"PATH": f"{BIN}:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_it_serves_with_the_port_and_the_directory(printed: list[str], tmp_path: Path, free_port: int) -> None:
    arguments = ["serve", "--paste", "etc/api-paste.ini", "--var", str(tmp_path / "my state"), "--port", str(free_port)]
    assert printed[-1] == " ".join(arguments)  # as echo prints them


def test_what_it_prints_leads_the_commands_to_the_sample(paste: Callable[[str], str]) -> None:
    assert paste("os-volume-ext volume list --filter volumes_cyclades -f value -c id").split() == [
        "9",
        "99",
        "100",
        "200",
    ]
    paste("os-volume-ext reconcile --all --filter volumes_cyclades")
    assert "error" not in paste("os-volume-ext check --name openstack -f value -c result").split()


def test_what_it_prints_leads_the_clients_to_the_sample(paste: Callable[[str], str], free_port: int) -> None:
    url = paste('. examples/openrc; echo "$OS_AUTH_URL"').strip()
    assert url == f"http://127.0.0.1:{free_port}/identity/v3"
