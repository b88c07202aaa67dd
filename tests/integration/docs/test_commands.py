"""What docs/commands.rst says: completion works as in the shells that it names."""

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select

import pytest

from tests.support.paths import DOCS, ROOT
from tests.support.services import require_service
from tests.support.waiting import TIMEOUT

BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
COMPLETIONS = [
    ("os-volume-ext rec", "os-volume-ext reconcile "),
    ("os-volume-ext attachment re", "os-volume-ext attachment remove "),
    ("os-volume-ext reconcile --dr", "os-volume-ext reconcile --dry-run "),
    ("os-volume-ext check --paste api-p", "os-volume-ext check --paste api-paste.ini "),
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a user with a home of their own, where a paste file is."""
    (tmp_path / "api-paste.ini").touch()
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "os-volume-ext"
    lines = ["import sys", f"sys.path.insert(0, {str(ROOT)!r})", "from os_volume_ext.cli.main import main", "main()"]
    command.write_text("\n".join([f"#!{sys.executable}", *lines, ""]))
    command.chmod(0o755)
    return {"HOME": str(tmp_path), "PATH": f"{command.parent}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "ready> "}


@contextmanager
def terminal(command: list[str], environment: dict[str, str]) -> Iterator[Callable[[str, str], None]]:
    """Run a shell in a terminal; give ``type_and_expect(text, expected)``."""
    controller, device = pty.openpty()
    termios.tcsetwinsize(device, (50, 500))
    shell = subprocess.Popen(
        ["setsid", "--ctty", *command],
        stdin=device,
        stdout=device,
        stderr=device,
        cwd=environment["HOME"],
        env=environment,
        close_fds=True,
    )
    os.close(device)

    def type_and_expect(text: str, expected: str) -> None:
        os.write(controller, text.encode())
        shown, deadline = "", time.monotonic() + TIMEOUT
        while expected not in shown:
            assert select([controller], [], [], max(deadline - time.monotonic(), 0))[0], shown
            shown += os.read(controller, 65536).decode()

    try:
        yield type_and_expect
    finally:
        shell.kill()
        shell.wait()
        os.close(controller)


@pytest.mark.parametrize(("text", "expected"), COMPLETIONS)
def test_bash_completes_commands_options_and_files(environment: dict[str, str], text: str, expected: str) -> None:
    require_service(BASH_COMPLETION.exists(), "there is no package bash-completion")
    page = (DOCS / "commands.rst").read_text()
    [commands] = re.findall(r"^For bash .*\n\n\.\. code-block:: sh\n\n((?:    .*\n)+)", page, flags=re.MULTILINE)
    subprocess.run(["bash", "-ec", commands], env=environment, check=True, timeout=TIMEOUT)
    with terminal(["bash", "--norc", "--noprofile", "-i"], environment) as type_and_expect:
        type_and_expect(f". {BASH_COMPLETION}; PS1='loaded'\\>\n", "loaded>")
        type_and_expect(f"{text}\t", expected)


@pytest.mark.parametrize(("text", "expected"), COMPLETIONS)
def test_zsh_completes_commands_options_and_files(environment: dict[str, str], text: str, expected: str) -> None:
    require_service(shutil.which("zsh") is not None, "there is no zsh")
    with terminal(["zsh", "-f", "-i"], environment) as type_and_expect:
        place = shlex.quote(str(DOCS / "commands"))
        type_and_expect(f"fpath=({place} $fpath); autoload -Uz compinit; compinit -uD; PS1='loaded'\\>\n", "loaded>")
        type_and_expect(f"{text}\t", expected)
