"""docs/security.rst: the tests that it names exist, and its limits are those of the package."""

import re
from collections.abc import Mapping

import pytest
from docutils import nodes

from os_volume_ext.api import microversions, negotiation, responses, serializers
from os_volume_ext.outbound import client
from os_volume_ext.settings import Settings
from tests.support.pages import as_texts, table
from tests.support.paths import DOCS, ROOT

PAGE = (DOCS / "security.rst").read_text()
CITED = re.findall(r"``([\w/]+\.py)::(\w+)``", PAGE)


@pytest.mark.parametrize(("file", "name"), CITED, ids=[name for _, name in CITED])
def test_a_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert re.search(rf"^ *def {name}\(", (ROOT / "tests" / file).read_text(), flags=re.MULTILINE)


def test_every_test_is_named_in_the_form_that_is_looked_for() -> None:
    assert len(CITED) == PAGE.count("::test_") > 30


def test_the_limits_are_those_of_the_package(pages: Mapping[str, nodes.document]) -> None:
    rows = [[row[0], row[1]] for row in table(pages["security"], "Limit")]
    limits = {what: [int(number) for number in re.findall(r"\d+", text)] for what, text in as_texts(rows).items()}
    settings = Settings.parse({"backend": "directory", "database.url": "sqlite:////volumes.db"})
    assert limits.pop("query string") == [responses.MAX_QUERY]
    assert limits.pop("Accept") == [negotiation.MAX_ACCEPT, negotiation.MAX_RANGES]
    assert limits.pop("headers of the microversion") == [microversions.MAX_HEADER]
    assert limits.pop("body") == [settings.max_body]
    assert limits.pop("entries of a list") == [settings.max_limit]
    assert limits.pop("response of the compute API or Keystone") == [client.MAX_BODY, client.TIMEOUT]
    assert limits == {"attributes of an XML element": [serializers.MAX_ATTRIBUTES]}
