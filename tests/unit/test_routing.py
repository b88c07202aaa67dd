"""Which paths the filter handles."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from os_volume_ext.api.routing import Match, Router

ROUTER = Router()
LIST = "/servers/1134/os-volume_attachments"
UUID = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
PROJECT = "6f70656e737461636b20342065766572"


def match(path):
    return ROUTER.match(path)


@pytest.mark.parametrize("prefix", ["", "/demo", f"/{PROJECT}", "/AUTH_demo", "/servers"])
def test_the_collection_is_matched_with_and_without_a_project(prefix):
    project = prefix[1:] or None
    assert match(prefix + LIST) == Match("collection", None, project, "1134")


@pytest.mark.parametrize("prefix", ["", "/demo"])
@pytest.mark.parametrize("volume_id", ["9", UUID, UUID.upper(), "nonsense", "a;b", "a,b", "a#b", "%39", " "])
def test_a_member_is_matched_with_its_id_as_in_the_path(prefix, volume_id):
    assert match(f"{prefix}{LIST}/{volume_id}") == Match("member", None, prefix[1:] or None, "1134", volume_id)


@pytest.mark.parametrize("suffix", ["json", "xml"])
@pytest.mark.parametrize(("path", "resource"), [(LIST, "collection"), (f"{LIST}/9", "member")])
def test_a_suffix_is_stripped_and_returned(path, resource, suffix):
    found = match(f"{path}.{suffix}")
    assert (found.resource, found.suffix, found.server_id) == (resource, suffix, "1134")
    assert found.volume_id == ("9" if resource == "member" else "")


@pytest.mark.parametrize(("path", "resource"), [(LIST, "collection"), (f"{LIST}/9", "member")])
def test_a_trailing_slash_makes_no_difference(path, resource):
    assert match(f"{path}/") == match(path)
    assert match(path).resource == resource


def test_only_the_last_suffix_is_stripped():
    assert match(f"{LIST}/9.json.xml").volume_id == "9.json"


@pytest.mark.parametrize("suffix", [".html", ".JSON", ".", ".jsonx"])
def test_another_suffix_belongs_to_the_id(suffix):
    found = match(f"{LIST}/9{suffix}")
    assert (found.suffix, found.volume_id) == (None, f"9{suffix}")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/servers",
        "/servers/1134",
        "/servers/os-volume_attachments",
        "/servers//os-volume_attachments",
        "//servers/1134/os-volume_attachments",
        "/servers/1134//os-volume_attachments",
        "/servers/1134/os-volume_attachments//",
        "/servers/1134/os-volume_attachments//9",
        "/servers/1134/os-volume_attachments/9//",
        "/servers/1134/os-volume_attachments/9/metadata",
        "/servers/1134/os-volume_attachments.xml/",
        "/servers/1134/os-volume_attachments.html",
        "/servers/1134/os-volume_attachments;x",
        "/servers/1134/os-volume_attachmentsx",
        "/servers/1134/OS-VOLUME_ATTACHMENTS",
        "/servers/1134/os-volume_attachments/.json",
        "/Servers/1134/os-volume_attachments",
        "/a/b/servers/1134/os-volume_attachments",
        "servers/1134/os-volume_attachments",
        "/os-volume_attachments",
        "/servers/1134/os-volume_attachments\n",
        "/servers/1134/os-volume_attachments/9\n",
        "/servers/1134/os-volume_attachments/9\n/",
        "/servers/1134/os-volume_attachments/9\n.json",
        "/extensions\n",
        "/extensions/os-volume",
        "/extensions/os-volumes/x",
        "/servers/extensions",
        "/demo/extensions",
        "/servers/extensions/os-volumes",
    ],
)
def test_other_paths_are_not_matched(path):
    assert match(path) is None


@pytest.mark.parametrize("prefix", ["", f"/{PROJECT}", f"/{UUID}"])
@pytest.mark.parametrize("suffix", [None, "json", "xml"])
def test_discovery_is_matched_without_a_project_and_with_one_of_keystone(prefix, suffix):
    dot = f".{suffix}" if suffix else ""
    assert match(f"{prefix}/extensions{dot}") == Match("extensions", suffix, prefix[1:] or None)
    assert match(f"{prefix}/extensions/os-volumes{dot}") == Match("extension", suffix, prefix[1:] or None)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("\u03b1".encode().decode("latin-1"), "\u03b1"),
        ("\xff", "\\xff"),
        ("a\xc3", "a\\xc3"),
        ("\u0661".encode().decode("latin-1"), "\u0661"),
    ],
)
def test_an_id_is_read_as_utf_8_and_what_is_not_stays_visible(raw, text):
    found = match(f"/servers/{raw}/os-volume_attachments/{raw}")
    assert (found.server_id, found.volume_id) == (text, text)


def test_the_project_keeps_its_bytes_for_the_compute_api():
    raw = "\u03b1".encode().decode("latin-1")
    assert match(f"/{raw}{LIST}").project_id == raw


@pytest.mark.parametrize("project", ["", "/demo", f"/{'p' * 2000}"])
@pytest.mark.parametrize("character", ["1", "\xff"])
def test_very_long_ids_are_cut_and_the_path_is_matched_as_before(project, character):
    found = match(f"{project}/servers/{character * 2000}/os-volume_attachments/{character * 2000}.xml")
    shown_id = "1" * 255 if character == "1" else "\\xff" * 255
    assert found == Match("member", "xml", project[1:256] or None, shown_id, shown_id)


@pytest.mark.parametrize("path", [f"{LIST}/9/{'1' * 2000}", f"/a/b{LIST}/{'1' * 2000}", f"{LIST}{'/' * 2000}9"])
def test_very_long_paths_of_others_are_not_matched(path):
    assert match(path) is None


SEGMENTS = st.sampled_from(
    [
        "",
        "/",
        "//",
        "/servers",
        "/9",
        f"/{UUID}",
        "/os-volume_attachments",
        "/extensions",
        "/os-volumes",
        ".json",
        ".xml",
    ]
)
LATIN_1 = st.text(st.characters(codec="latin-1"), max_size=6)
PATHS = st.lists(SEGMENTS | LATIN_1, max_size=8).map("".join) | st.builds(
    "{}/servers/{}/os-volume_attachments{}{}".format,
    LATIN_1.map(lambda text: f"/{text}") | st.just(""),
    LATIN_1,
    LATIN_1.map(lambda text: f"/{text}") | st.just(""),
    st.sampled_from(["", ".json", ".xml", "/", ".json/", "\n"]),
)


def rebuilt(found):
    """Write the path that a match came from, but for a trailing slash."""
    project = "" if found.project_id is None else f"/{found.project_id}"
    server, attachment = found.server_id, found.volume_id
    path = {
        "collection": f"{project}/servers/{server}/os-volume_attachments",
        "member": f"{project}/servers/{server}/os-volume_attachments/{attachment}",
        "extensions": f"{project}/extensions",
        "extension": f"{project}/extensions/os-volumes",
    }[found.resource]
    return path if found.suffix is None else f"{path}.{found.suffix}"


def shown(path):
    """Read the bytes of a path as the ids of a match are read."""
    return path.encode("latin-1").decode("utf-8", "backslashreplace")


@given(PATHS)
@example("/servers/9/os-volume_attachments\n")
@example("/servers/9/os-volume_attachments/9\n/")
@example("/\xff/servers/\xff/os-volume_attachments/\xff.xml")
def test_any_path_is_not_matched_or_can_be_rebuilt_from_the_match(path):
    found = match(path)
    if found is None:
        return
    if found.project_id is not None:
        raw = f"/{found.project_id}"
        assert path.startswith(raw)
        assert "/" not in found.project_id
        path, found = (
            path.removeprefix(raw),
            Match(found.resource, found.suffix, None, found.server_id, found.volume_id),
        )
    assert shown(path) in (rebuilt(found), f"{rebuilt(found)}/")


@given(st.text(max_size=30))
def test_not_even_text_that_is_no_path_raises(text):
    found = match(text)
    assert found is None or isinstance(found, Match)
    assert isinstance(match(f"/servers/{text}/os-volume_attachments/9"), Match | None)
