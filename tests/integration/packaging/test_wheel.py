"""What ``python -m build`` makes: a wheel that serves the sample by itself, and an sdist that makes the same wheel."""

import configparser
import http.client
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.support.paths import ROOT

SERVER = "4335bab6-6086-4247-8274-8b8b048edaaa"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
DEVELOPMENT = ("bench", "docs", "lint", "mutants", "test", "testing")  # extras that no deployment needs

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git lists the files of the project")


@pytest.fixture(scope="module")
def tracked(run_command: Callable[..., str]) -> set[str]:
    names = run_command("git", "ls-files", "-z", cwd=ROOT).split("\0")
    return {name for name in names if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def dist(tracked: set[str], run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    run_command(sys.executable, "-m", "build", "--sdist", "--wheel", "--outdir", made, source, cwd=made)
    return made


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    [wheel] = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    [sdist] = dist.glob("*.tar.gz")
    return sdist


@pytest.fixture(scope="module")
def prefix(wheel: Path, run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtualenv that holds the wheel, its extra ``serve`` and nothing else."""
    prefix = tmp_path_factory.mktemp("installed")
    run_command(sys.executable, "-m", "venv", prefix, cwd=prefix)
    run_command(prefix / "bin/python", "-m", "pip", "install", "--quiet", f"{wheel}[serve]", cwd=prefix)
    return prefix


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def metadata(wheel: Path) -> Message:
    [text] = [text for name, text in contents(wheel).items() if name.endswith(".dist-info/METADATA")]
    return BytesParser().parsebytes(text)


def test_a_package_index_shows_what_it_is(metadata: Message) -> None:
    summary = metadata["Summary"]
    assert "os-volume_attachments" in summary
    assert len(summary) <= 512  # the limit of package indexes
    assert metadata["Description-Content-Type"] == "text/x-rst"
    assert metadata.get_payload(decode=True).decode().strip() == (ROOT / "README.rst").read_text().strip()
    assert {"OpenStack", "Nova", "volumes"} <= set(metadata["Keywords"].split(","))
    for url in metadata.get_all("Project-URL"):
        name, address = url.split(", ")
        assert name
        assert address.startswith("https://")


def test_the_classifiers_name_the_pythons_that_can_install_it(metadata: Message) -> None:
    prefix = "Programming Language :: Python :: 3."
    classifiers = metadata.get_all("Classifier")
    assert len(set(classifiers)) == len(classifiers)
    named = {int(each.removeprefix(prefix)) for each in classifiers if each.startswith(prefix)}
    supported = SpecifierSet(metadata["Requires-Python"])
    assert min(named) == min(minor for minor in range(100) if supported.contains(f"3.{minor}"))
    assert named == set(range(min(named), max(named) + 1))
    assert sys.version_info.minor in named


def requirements_of(metadata: Message, *extras: str) -> set[str]:
    """Return the names of what pip installs for these extras, and without any."""
    found: set[str] = set()
    for requirement in map(Requirement, metadata.get_all("Requires-Dist")):
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        own = requirement.name == metadata["Name"]
        found |= requirements_of(metadata, *requirement.extras) if own else {requirement.name}
    return found


def test_the_extra_all_installs_what_the_extras_of_operators_do(metadata: Message) -> None:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])
    assert set(metadata.get_all("Provides-Extra")) == extras
    operators = extras - {"all", *DEVELOPMENT}
    assert requirements_of(metadata, "all") == requirements_of(metadata, *operators)
    assert requirements_of(metadata, "all") - requirements_of(metadata)


def test_the_wheel_holds_the_package_the_files_of_etc_and_no_more(tracked: set[str], wheel: Path) -> None:
    stem = "-".join(wheel.name.split("-")[:2])
    names = contents(wheel).keys()
    package = {name for name in tracked if name.startswith("os_volume_ext/")}
    assert {name for name in names if not name.startswith(stem)} == package
    data = f"{stem}.data/data/etc/os-volume-ext"
    files = {name.removeprefix("etc/") for name in tracked if name.startswith("etc/")}
    assert {name for name in names if name.startswith(f"{stem}.data/")} == {f"{data}/{name}" for name in files}
    assert f"{stem}.dist-info/entry_points.txt" in names
    assert any(name.startswith(f"{stem}.dist-info/") and name.endswith("LICENSE") for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "os_volume_ext/py.typed",
        "os_volume_ext/backends/base.py",
        "os_volume_ext/registry/migrations/env.py",
        "os_volume_ext/registry/migrations/script.py.mako",
        "os_volume_ext/registry/migrations/versions/0001_attachments_and_volumes.py",
        "os_volume_ext/testing/__init__.py",
        "os_volume_ext/cli/templates/backend/pyproject.toml",
        "os_volume_ext/cli/templates/catalog/test_inventory.py",
    ],
)
def test_the_wheel_holds_what_is_easily_forgotten(wheel: Path, name: str) -> None:
    assert name in contents(wheel)


def test_the_sdist_holds_all_but_dot_files(tracked: set[str], sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tracked if not name.startswith(".")} - names == set()


def test_the_sdist_makes_the_same_wheel(
    wheel: Path, sdist: Path, run_command: Callable[..., str], tmp_path: Path
) -> None:
    run_command(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, sdist, cwd=tmp_path)
    again = contents(tmp_path / wheel.name)
    expected = contents(wheel)
    assert again.keys() == expected.keys()
    # RECORD lists the hashes of the others.
    assert [name for name in expected if again[name] != expected[name] and not name.endswith("/RECORD")] == []


def test_the_wheel_serves_the_sample(
    prefix: Path, free_port: int, start_server: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    server = start_server(
        prefix / "bin/os-volume-ext",
        "serve",
        "--paste",
        prefix / "etc/os-volume-ext/api-paste.ini",
        "--var",
        tmp_path / "var",
        "--port",
        str(free_port),
        port=free_port,
    )
    with closing(http.client.HTTPConnection("127.0.0.1", free_port, timeout=30)) as connection:
        connection.request(
            "POST",
            f"/v2.1/servers/{SERVER}/os-volume_attachments",
            body=json.dumps({"volumeAttachment": {"volumeId": VOLUME}}),
            headers={"X-Auth-Token": "demo-token", "Content-Type": "application/json"},
        )
        response = connection.getresponse()
        body = response.read()
    assert response.status == 200, body
    attachment = json.loads(body)["volumeAttachment"]
    assert attachment == {"id": VOLUME, "serverId": SERVER, "volumeId": VOLUME, "device": "/dev/vdb"}
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("factory", "extra"),
    [
        ("paste.filter_factory = keystonemiddleware.auth_token:filter_factory", "keystone"),
        ("use = egg:keystonemiddleware#auth_token", "keystone"),
        ("paste.filter_factory = prometheus_client.exposition:make_wsgi_app", "metrics"),
        ("paste.filter_factory = oslo_messaging.notify.middleware:RequestNotifier.factory", "notifications"),
    ],
)
def test_a_package_that_another_extra_installs_is_reported_with_the_extra(
    prefix: Path, tmp_path: Path, command: str, factory: str, extra: str
) -> None:
    paste = tmp_path / "api-paste.ini"
    sections = {"pipeline:main": "pipeline = other compute", "filter:other": factory}
    sections["app:compute"] = "use = egg:os-volume-ext#demo_versions"
    paste.write_text("".join(f"[{name}]\n{line}\n" for name, line in sections.items()))
    done = subprocess.run(
        [prefix / "bin/os-volume-ext", command, "--paste", paste], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"os-volume-ext: {paste}: [filter:other] can't be loaded: ")
    assert done.stderr.endswith(f": install os-volume-ext[{extra}]\n")
