"""The units in ``etc/systemd``: systemd loads them, they run what cron would, and with few privileges."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from os_volume_ext.cli.reconcile import Reconcile
from tests.support.paths import DOCS, ROOT
from tests.support.services import require_service

UNITS = ROOT / "etc" / "systemd"
SERVICES = ("os-volume-ext-reconcile", "os-volume-ext-reconcile-all")
MAX_EXPOSURE = 25  # of 100: systemd-analyze calls a service of up to 40 OK; without a sandbox it has 96
TIMEOUT = 60  # seconds

of_each_service = pytest.mark.parametrize("service", SERVICES)


def read(name: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNITS / name)
    return {section: dict(parser[section]) for section in parser.sections()}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Give a directory with the units, whose command is the one that is installed here."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/compute/bin", str(Path(sys.executable).parent))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    require_service(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    return subprocess.run(
        ["systemd-analyze", *arguments],
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_PAGER": "", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )


def test_there_is_a_timer_for_each_service_and_no_other_unit() -> None:
    assert {unit.name for unit in UNITS.iterdir()} == {
        f"{service}.{kind}" for service in SERVICES for kind in ("service", "timer")
    }


def test_systemd_loads_the_units_without_a_warning(installed: Path) -> None:
    done = analyze("verify", "--man=no", *sorted(installed.iterdir()))
    assert (done.returncode, done.stdout) == (0, "")


@of_each_service
def test_a_service_has_few_privileges(service: str, installed: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", installed / f"{service}.service")
    assert done.returncode == 0, done.stdout


@of_each_service
def test_a_service_runs_the_command_that_cron_would(service: str) -> None:
    settings = read(f"{service}.service")["Service"]
    path, name, *arguments = settings["ExecStart"].split()
    Reconcile(SimpleNamespace(), None).get_parser(name).parse_args(arguments)
    variable, paste = settings["Environment"].split("=")
    assert variable == "OS_VOLUME_EXT_PASTE"
    lines = (DOCS / "paste" / "crontab").read_text().replace(f" --paste {paste}", "")
    by_cron = re.findall(rf"^\S+ \S+ \* \* \* {settings['User']} ([\w -]+?)(?: >>.*)?$", lines, flags=re.MULTILINE)
    assert " ".join([Path(path).name, name, *arguments]) in by_cron


def test_the_services_differ_in_their_commands_only() -> None:
    one, other = (read(f"{service}.service") for service in SERVICES)
    for unit in (one, other):
        del unit["Unit"]["Description"], unit["Service"]["ExecStart"]
    assert one == other


@of_each_service
def test_a_timer_starts_with_the_machine(service: str) -> None:
    timer = read(f"{service}.timer")
    assert timer["Install"] == {"WantedBy": "timers.target"}
    assert analyze("calendar", timer["Timer"]["OnCalendar"]).returncode == 0
