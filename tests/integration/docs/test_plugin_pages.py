"""docs/backend.rst and docs/catalog.rst lead a plugin's author from an empty directory to requests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from tests.support import transcripts
from tests.support.pages import table
from tests.support.paths import DOCS, ROOT, TEMPLATES
from tests.support.services import require_service

CHECKOUT = "/path/to/this/checkout"
ADDRESS = "127.0.0.1:8774"
STEP_TIMEOUT = 600  # seconds, for packages that pip downloads
SERVE = "os-volume-ext serve --paste api-paste.ini"
NAMES = {"backend": "marks", "catalog": "inventory"}


class Author(NamedTuple):
    """The author of a plugin, who has followed a page."""

    page: Path
    directory: Path
    """Where the virtualenv and the plugin's directory are."""
    name: str
    """The plugin's."""
    environment: Mapping[str, str]

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run commands in the plugin's directory, if there is one, and in the virtualenv."""
        there = self.directory / self.name
        activate = ". venv/bin/activate\n" if (self.directory / "venv").exists() else ""
        return subprocess.run(
            ["sh", "-ec", f"{activate}cd {there if there.exists() else '.'}\n{script}"],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIMEOUT,
        )


def steps(page: Path) -> list[str]:
    """Return the commands of the page's first two blocks."""
    return [line for block in transcripts.blocks(page, "sh")[:2] for line in block.splitlines()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of this checkout, since building leaves files in it."""
    ignored = shutil.ignore_patterns(".*", "build", "dist", "var", "*.egg-info", "__pycache__")
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("checkout"), ignore=ignored, dirs_exist_ok=True))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one directory for both pages, so that most packages are installed once."""
    return tmp_path_factory.mktemp("author")


@pytest.fixture(scope="module", params=NAMES)
def author(request: pytest.FixtureRequest, checkout: Path, directory: Path) -> Author:
    """Give an author who has done all steps before ``serve``, of one page after the other."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OS_VOLUME"))}
    environment |= {"HOME": str(directory), "CURL_HOME": str(directory), "no_proxy": "127.0.0.1"}
    author = Author(DOCS / f"{request.param}.rst", directory, NAMES[request.param], environment)
    *commands, serve = steps(author.page)
    assert serve == SERVE
    done = author.run("\n".join(commands).replace(CHECKOUT, str(checkout)))
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b\d+ passed", done.stdout), done.stdout
    assert "wrong" not in done.stdout
    return author


def test_the_page_leads_to_requests(author: Author, start_server: Callable[..., object], free_port: int) -> None:
    require_service(shutil.which("curl"), "curl is not installed")
    command = author.directory / "venv" / "bin" / "os-volume-ext"
    paste = author.directory / author.name / "api-paste.ini"
    start_server(command, "serve", "--paste", paste, "--port", str(free_port), port=free_port)
    for example in transcripts.examples(author.page):
        printed = author.run(example.command.replace(ADDRESS, f"127.0.0.1:{free_port}")).stdout
        assert printed.rstrip("\n") == example.printed.rstrip("\n"), example.command


def test_the_new_plugin_is_what_the_page_shows(author: Author) -> None:
    template = TEMPLATES / author.page.stem
    shown = re.findall(r"^\.\. literalinclude:: \.\./os_volume_ext/cli/templates/(.*)$", author.page.read_text(), re.M)
    assert shown
    for path in shown:
        assert path.startswith(f"{template.name}/")
        made = author.directory / author.name / Path(path).name
        assert made.read_text() == (TEMPLATES / path).read_text()


def test_the_readme_of_the_new_plugin_has_the_steps_of_the_page(author: Author) -> None:
    readme = publish_doctree((author.directory / author.name / "README.rst").read_text())
    commands = [line for block in readme.findall(nodes.literal_block) for line in block.astext().splitlines()]
    wanted = steps(author.page)
    assert commands == wanted[wanted.index("pip install -e '.[test]'") :]


def test_the_page_has_what_check_says_of_a_plugin_that_is_not_installed(author: Author) -> None:
    paste = author.directory / author.name / "api-paste.ini"
    command = f"cd /; {sys.executable} -m os_volume_ext.cli.main check --paste {paste} -f value -c details"
    [start] = re.findall(r"``(\w+ is '\w+': installed are)``", author.page.read_text())
    assert [line for line in author.run(command).stdout.splitlines() if line.startswith(f"{start} ")]


@pytest.fixture(scope="module")
def absent(author: Author) -> str:
    """Give what pytest prints if every fixture is absent that may be, with each test in a line."""
    kind = author.page.stem.title()
    tests = f"""
import pytest
from test_{author.name} import Test{author.name.title()}{kind} as Complete
from os_volume_ext.testing import Absent

def absent(name):
    return pytest.fixture(lambda self: Absent("for this test"), name=name)

class TestWithout(Complete):
    for each in Complete.absent_fixtures:
        vars()[each] = absent(each)

del Complete
"""
    (author.directory / author.name / "test_without.py").write_text(tests)
    return author.run("COLUMNS=500 pytest -v test_without.py").stdout


def test_the_page_has_the_tests_that_are_skipped_without_a_fixture(
    author: Author, absent: str, pages: Mapping[str, nodes.document]
) -> None:
    skipped = re.findall(r"::test_(\w+)(?:\[.*\])? SKIPPED \((\w+) is absent: for this test\)", absent)
    rows = table(pages[author.page.stem], "Skipped without it")
    shown = {
        name.astext(): [each.astext().removesuffix(" (in part)") for each in tests.findall(nodes.list_item)]
        for name, _, tests in rows
    }
    assert shown.keys() == {fixture for _, fixture in skipped}
    for test, fixture in skipped:  # by the first fixture that is absent
        assert test.replace("_", " ") in shown[fixture]
    assert len({test for tests in shown.values() for test in tests}) == len({test for test, _ in skipped})
