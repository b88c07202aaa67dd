"""Install this checkout with extras into the virtualenv that runs this, and show the progress of pip in a line or two.

usage: .venv/bin/python tools/install_extras.py EXTRA[,EXTRA...]
"""

import re
import shlex
import subprocess
import sys
import time

PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "--editable")
WIDTH = 72  # of the line of progress, so that it does not wrap


def show(text: str) -> None:
    """Replace the line of progress, on a terminal."""
    if sys.stdout.isatty():
        print(f"\r{text[:WIDTH]:{WIDTH}}\r", end="", flush=True)


def follow(process: subprocess.Popen[str]) -> list[str]:
    """Show what pip does until it ends; return what it printed."""
    printed = []
    found = 0
    for line in process.stdout or ():
        printed.append(line)
        match re.match(r" *(Collecting|Processing|Installing collected packages:) *(\S*)", line):
            case re.Match() as step if step[1].startswith("Installing"):
                show(f"  installing {found} packages")
            case re.Match() as step:
                found += 1
                show(f"  package {found}: {step[2].rpartition('/')[2]}")
    return printed


def main(extras: str) -> int:
    """Install the extras.

    :param extras: their names, separated by commas.
    :returns: pip's exit status.
    """
    print(f"Installing os-volume-ext[{extras}] and the packages that it needs into {sys.prefix}", flush=True)
    start = time.monotonic()
    command = [sys.executable, *PIP, f".[{extras}]"]
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        printed = follow(process)
    show("")
    if process.returncode:
        print(*printed, f"failed: {shlex.join(command)}", sep="", file=sys.stderr)
    else:
        print(f"Installed in {time.monotonic() - start:.0f} s", flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
