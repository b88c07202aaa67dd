"""Routing: which paths the filter handles."""

from collections.abc import Callable
from re import Match as PatternMatch
from typing import Any, NamedTuple

from routes import Mapper

# Without its slash, the second takes a quarter longer to search for.
ATTACHMENTS, EXTENSIONS = "os-volume_attachments", "/extensions"
ALIAS = "os-volumes"

_MAX_ID = 255  # bytes; a longer id is cut, and is none either way
_MAX_PATH = 1024  # bytes; a longer one is matched with its ids cut, since the mapper takes long for long ids
# Possessive. The default of Routes, "[^/]+?", looks for the end of the id after each character: a member takes twice as
# long to match.
_SEGMENT = "[^/]++"
_MAX_SEGMENTS = 6  # with the empty one before the first slash: /project/servers/id/os-volume_attachments/id


class Match(NamedTuple):
    """A path that the filter handles, with the ids as the client sent them, cut if they are very long."""

    resource: str
    """``collection``, ``member``, ``extensions`` or ``extension``."""
    suffix: str | None
    """``json``, ``xml`` or None."""
    project_id: str | None
    server_id: str = ""
    volume_id: str = ""


class Router:
    """Matches paths, by the expressions that Routes compiles; its mapper's own look-up takes three times as long."""

    def __init__(self) -> None:
        """Connect the routes."""
        mapper = Mapper(explicit=True, controller_scan=None, always_scan=False)
        segments: Any = {"requirements": dict.fromkeys(("project_id", "server_id", "volume_id"), _SEGMENT)}
        for prefix in ("", "/{project_id}"):
            collection = f"{prefix}/servers/{{server_id}}/{ATTACHMENTS}"
            mapper.connect(collection, controller="collection", **segments)
            mapper.connect(f"{collection}/{{volume_id}}", controller="member", **segments)
        # The syntax of Keystone's ids, so that /servers/extensions is not taken for a project's extensions.
        syntax: Any = {"requirements": {"project_id": "[0-9a-f-]{32,36}"}}
        for prefix in ("", "/{project_id}"):
            mapper.connect(f"{prefix}{EXTENSIONS}", controller="extensions", **syntax)
            mapper.connect(f"{prefix}{EXTENSIONS}/{ALIAS}", controller="extension", **syntax)
        mapper.create_regs([])
        self._routes: list[tuple[str, Callable[[str], PatternMatch[str] | None]]] = [
            (route.defaults["controller"], route.regmatch.match) for route in mapper.matchlist
        ]

    def match(self, path: str) -> Match | None:
        """Return the match of a path; None if the filter does not handle it.

        :param path: PATH_INFO, in which each character is a byte.
        """
        path, suffix = _strip_suffix(path)
        if len(path) > _MAX_PATH:
            path = "/".join(segment[:_MAX_ID] for segment in path.split("/", _MAX_SEGMENTS))
        if path.endswith("\n"):  # the expressions end in "$", which also matches before a final newline
            return None
        for resource, match in self._routes:
            found = match(path)
            if found is not None:
                ids = found.groupdict()
                server_id, volume_id = _text(ids.get("server_id", "")), _text(ids.get("volume_id", ""))
                return Match(resource, suffix, ids.get("project_id"), server_id, volume_id)
        return None


def _strip_suffix(path: str) -> tuple[str, str | None]:
    """Split a path into the path itself and ``json`` or ``xml``; a trailing slash is dropped."""
    if path.endswith("/"):
        return path[:-1], None
    stem, dot, suffix = path.rpartition(".")
    return (stem, suffix) if dot and suffix in ("json", "xml") else (path, None)


def _text(raw: str) -> str:
    return raw if raw.isascii() else raw.encode("latin-1", "replace").decode("utf-8", "backslashreplace")
