"""A real Barbican for the whole session."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.barbican.real_barbican import Barbican
from tests.support.paths import DOCS
from tests.support.real_keystone import PASSWORD, Keystone, People
from tests.support.services import require_service


@pytest.fixture(scope="session")
def barbican(
    service_venv: Callable[[str], Path],
    keystone: Keystone,
    people: People,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Barbican]:
    """Serve Barbican."""
    require_service(find_spec("castellan"), "Castellan is missing: pip install '.[encryption]'")
    barbican = Barbican(service_venv("barbican"), tmp_path_factory.mktemp("barbican"))
    barbican.set_up(keystone, people.tokens["admin"])
    with barbican.serving():
        yield barbican


@pytest.fixture
def new_conf(keystone: Keystone, tmp_path: Path) -> Callable[..., str]:
    """Give ``new_conf(password)``: the path of the file of the page, with Keystone's URL and a password."""

    def make(password: str = PASSWORD) -> str:
        text = (DOCS / "cinder" / "key-manager.conf").read_text()
        for documented, here in (("http://controller:5000", keystone.url), ("= secret", f"= {password}")):
            assert documented in text
            text = text.replace(documented, here)
        (tmp_path / "key-manager.conf").write_text(text)
        return str(tmp_path / "key-manager.conf")

    return make
