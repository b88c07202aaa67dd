"""The lower bounds of ``setup.cfg``: versions with a published vulnerability are not admitted."""

import configparser

import pytest
from packaging.requirements import Requirement

from tests.support.paths import ROOT


def requirements():
    """Return the requirements by name, of the package and of all extras."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    lines = (line.partition("#")[0].strip() for text in texts for line in text.splitlines())
    found = {}
    for requirement in map(Requirement, filter(None, lines)):
        found.setdefault(requirement.name.lower(), []).append(requirement)
    return found


@pytest.mark.parametrize(
    ("name", "vulnerable", "fixed"),
    [
        ("waitress", "3.0.0", "3.0.1"),  # CVE-2024-49768
        ("requests", "2.32.3", "2.32.4"),  # CVE-2024-47081
        ("pymysql", "1.1.0", "1.1.1"),  # CVE-2024-36039
        ("webob", "1.8.7", "1.8.8"),  # CVE-2024-42353
        ("keystonemiddleware", "10.7.1", "10.7.2"),  # CVE-2026-22797, on three branches
        ("keystonemiddleware", "10.9.0", "10.9.1"),
        ("keystonemiddleware", "10.12.0", "10.12.1"),
        ("pytest", "9.0.2", "9.0.3"),  # CVE-2025-71176
    ],
)
def test_a_vulnerable_version_is_not_admitted_and_the_fixed_one_is(name, vulnerable, fixed):
    for requirement in requirements()[name]:
        assert not requirement.specifier.contains(vulnerable)
        assert requirement.specifier.contains(fixed)
