"""The built pages have no link that leads nowhere, as far as that can be told without a network."""

import functools
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from lxml import html


@pytest.fixture(scope="module")
def links(site: Path) -> list[tuple[Path, str]]:
    """Give the page and the target of each link, picture, style sheet and script."""
    return [
        (path, str(link))
        for path in sorted((site / "html").glob("*.html"))
        for _, _, link, _ in html.fromstring(path.read_bytes()).iterlinks()
    ]


def is_external(link: str) -> bool:
    return bool(urlsplit(link).scheme or urlsplit(link).netloc)


@functools.cache
def anchors(page: Path) -> set[str]:
    return set(html.fromstring(page.read_bytes()).xpath("//@id"))


def leads_somewhere(page: Path, link: str) -> bool:
    path, anchor = urldefrag(link)
    target = page.parent / unquote(urlsplit(path).path) if path else page
    return target.is_file() and (not anchor or target.suffix != ".html" or unquote(anchor) in anchors(target))


def test_each_link_within_the_pages_leads_to_a_file_and_an_anchor(links: list[tuple[Path, str]]) -> None:
    internal = [(page, link) for page, link in links if not is_external(link)]
    assert len(internal) > 1000
    assert {f"{page.name}: {link}" for page, link in internal if not leads_somewhere(page, link)} == set()


def test_links_to_elsewhere_are_encrypted_and_name_a_host(links: list[tuple[Path, str]]) -> None:
    for page, link in links:
        if is_external(link):
            target = urlsplit(link)
            assert target.scheme in ("https", "data"), (page.name, link)
            assert target.scheme == "data" or "." in (target.hostname or ""), (page.name, link)
