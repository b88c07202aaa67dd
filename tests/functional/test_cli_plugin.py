"""``os-volume-ext plugin new``: what it refuses, and that it creates nothing then."""

import os
from functools import partial
from pathlib import Path

import pytest

from os_volume_ext.cli.plugin import EXAMPLES
from tests.support import command

KINDS = tuple(EXAMPLES)


@pytest.fixture
def paste():
    """The command needs no paste file."""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """Give the working directory of the command, which is empty."""
    directory = tmp_path / "empty"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def message(run):
    return partial(command.error_message, run, "plugin", "new")


def contents(directory):
    return {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_is_written_below_the_working_directory(run, directory, kind):
    status, out, err = run("plugin", "new", "acme", "--kind", kind)
    assert (status, err) == (0, "")
    assert out.startswith(f"{directory / 'acme'} has the {kind} acme and its tests.")
    assert {"README.rst", "pyproject.toml", "acme.py", "test_acme.py"} <= contents(directory / "acme").keys()
    assert f"class Acme{kind.title()}(" in contents(directory / "acme")["acme.py"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_is_written_where_the_option_says(run, directory, kind):
    assert run("plugin", "new", "acme_disks", "--kind", kind, "--directory", "elsewhere")[0] == 0
    assert [path.name for path in directory.iterdir()] == ["elsewhere"]
    assert "class TestAcmeDisks" in contents(directory / "elsewhere")["test_acme_disks.py"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_of_a_plugin_has_the_names_of_the_example(run, directory, kind):
    run("plugin", "new", "acme", "--kind", kind)
    for name, text in contents(directory / "acme").items():
        assert EXAMPLES[kind] not in f"{name} {text}".lower()


@pytest.mark.parametrize(
    "name", ["Acme", "acme-disks", "1acme", "_acme", "acme.disks", "../acme", "acmé", "acme_", "a" * 41]
)
def test_a_name_of_other_characters_is_refused(message, directory, name):
    expected = (
        f"os-volume-ext: NAME is {name!r}: it must match ^[a-z]([a-z0-9_]{{0,38}}[a-z0-9])?$, as acme_disks does\n"
    )
    assert message(name, "--kind", "catalog") == expected
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("class", "it is a keyword of Python"),
        ("json", "there is a Python module of that name"),
        ("nt", "there is a Python module of that name"),  # on Windows only
        ("os_volume_ext", "there is a Python module of that name"),
        ("sql", "os-volume-ext has a plugin of that name"),
        ("directory", "os-volume-ext has a plugin of that name"),
        ("libvirt", "os-volume-ext has a plugin of that name"),
        ("pastedeploy", "a distribution of that name is installed"),
        ("microversion_parse", "there is a Python module of that name"),
        ("conftest", "pytest gives modules whose names begin with conftest a meaning of its own"),
        ("test_disks", "pytest gives modules whose names begin with test a meaning of its own"),
        ("setup", "setuptools gives modules whose names begin with setup a meaning of its own"),
    ],
)
def test_a_name_that_something_else_has_is_refused_for_both_kinds(message, directory, kind, name, reason):
    assert message(name, "--kind", kind) == f"os-volume-ext: NAME is {name!r}: {reason}: choose another name\n"
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("empty", [True, False])
def test_an_existing_directory_is_refused_and_stays_as_it_was(message, directory, empty):
    there = directory / "acme"
    there.mkdir()
    if not empty:
        (there / "README.rst").write_text("mine")
    before = contents(there)
    assert (
        message("acme", "--kind", "backend")
        == f"os-volume-ext: --directory: {there} can't be created: File exists: name another\n"
    )
    assert contents(there) == before


def test_a_missing_parent_directory_is_refused(message, directory):
    assert "No such file or directory" in message("acme", "--kind", "backend", "--directory", "missing/acme")
    assert list(directory.iterdir()) == []


def test_what_can_not_be_written_is_removed_again(message, directory, monkeypatch):
    write_text = Path.write_text

    def fail_at_the_test(path, text):
        if path.name == "test_acme.py":
            raise OSError(28, os.strerror(28))
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", fail_at_the_test)
    assert "can't be written: No space left on device" in message("acme", "--kind", "backend")
    assert list(directory.iterdir()) == []


def test_another_kind_is_refused(run, directory):
    status, _, err = run("plugin", "new", "acme", "--kind", "compute")
    assert status == 2
    assert "invalid choice: 'compute'" in err
    assert list(directory.iterdir()) == []
