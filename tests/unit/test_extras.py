"""Which extra installs a package that is missing."""

from importlib.metadata import metadata

import pytest

from os_volume_ext.cli.extras import providing

METADATA = """\
Metadata-Version: 2.1
Name: os-volume-ext
Version: 1
Requires-Dist: no-such-base>=1
Requires-Dist: os-volume-ext[drawers,shelves]; extra == "all"
Requires-Dist: no.such-drawer[handles]>=3,!=4.*; extra == "drawers"
Requires-Dist: NoSuchShelf>=1; extra == 'shelves'
Requires-Dist: pytest>=1; extra == "shelves"
Requires-Dist: no-such-saw>=1; extra == "workshop"
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path, monkeypatch):
    """Let this distribution have other extras, whose packages are not installed."""
    directory = tmp_path / "os_volume_ext-1.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(tmp_path)
    assert metadata("os-volume-ext")["Version"] == "1"


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("no.such-drawer", "drawers"),
        ("no_such_drawer", "drawers"),
        ("no_such_drawer.handles", "drawers"),
        ("nosuchshelf", "shelves"),
        ("nosuchshelf.board", "shelves"),
    ],
)
def test_a_missing_package_is_found_by_its_distribution_and_by_its_module(package, extra):
    assert providing(package) == extra


@pytest.mark.parametrize("package", ["no_such_base", "no_such_saw", "other", "no", "such_drawer"])
def test_a_package_that_no_extra_of_a_deployment_installs_has_none(package):
    assert providing(package) is None


def test_a_module_that_an_installed_package_does_not_have_needs_no_extra():
    assert providing("pytest.nosuch") is None
