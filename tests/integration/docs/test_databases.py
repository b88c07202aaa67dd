"""The URLs and options of docs/databases.rst are what the filter and the drivers accept."""

import configparser
import inspect
import re
from collections.abc import Iterator

import psycopg.conninfo
import pymysql.connections
import pytest
from sqlalchemy.engine import URL, make_url

from os_volume_ext.registry.database import Database
from tests.support.paths import DOCS

PAGE = (DOCS / "databases.rst").read_text()
OURS = {"read_timeout", "prepare_threshold"}  # of PostgreSQL; ``registry.postgresql`` reads them
BASES = {"PostgreSQL": "postgresql+psycopg://volumes@db/volumes", "MariaDB": "mysql+pymysql://volumes@db/volumes"}


def sections() -> list[dict[str, str]]:
    """Return the options of each section of a paste file that the page shows."""
    found = []
    for path in sorted((DOCS / "databases").glob("*-filter.ini")):
        parser = configparser.ConfigParser()
        parser.read(path)
        found += [dict(parser[name]) for name in parser.sections()]
    return found


def urls() -> Iterator[str]:
    """Yield the URLs of the page, and those that its parts of URLs are for."""
    yield from re.findall(r"``((?:sqlite|postgresql|mysql)[+\w]*://[^`]+)``", PAGE)
    for database, examples in re.findall(r"^- (PostgreSQL|MariaDB): (.*)$", PAGE, flags=re.MULTILINE):
        for query in re.findall(r"``\?([^`]+)``", examples):
            yield f"{BASES[database]}?{query}"
    for name, value in re.findall(r"``\??(connect_timeout|read_timeout|prepare_threshold)(?:=(\d+))?``", PAGE):
        yield f"{BASES['PostgreSQL']}?{name}={value or 5}"


def unknown_to_the_driver(url: URL) -> set[str]:
    _, options = url.get_dialect()().create_connect_args(url)
    if url.get_backend_name() == "postgresql":
        ours = {name: value for name, value in options.items() if name not in {*OURS, "context"}}
        psycopg.conninfo.make_conninfo(**ours)
        return set()
    if url.get_backend_name() == "mysql":
        return set(options) - set(inspect.signature(pymysql.connections.Connection.__init__).parameters)
    return set()


@pytest.mark.parametrize("options", sections(), ids=str)
def test_a_section_of_the_page_has_options_of_the_database(options: dict[str, str]) -> None:
    assert all(name.startswith("database.") for name in options)
    database = Database({name.removeprefix("database."): value for name, value in options.items()})
    assert unknown_to_the_driver(database.url) == set()


@pytest.mark.parametrize("url", sorted(set(urls())))
def test_a_url_of_the_page_is_accepted(url: str) -> None:
    assert unknown_to_the_driver(make_url(str(Database({"url": url}).url))) == set()


def test_there_are_urls_for_each_database() -> None:
    assert {make_url(url).get_backend_name() for url in urls()} == {"sqlite", "postgresql", "mysql"}
    assert len(set(urls())) >= 9
    assert len(sections()) == 3
