"""Which paths are ours."""

from typing import Any, NamedTuple

from routes import Mapper

ATTACHMENTS, EXTENSIONS = "os-volume_attachments", "extensions"
ALIAS = "os-volumes"


class Match(NamedTuple):
    """A path of ours; the ids are as the path has them."""

    resource: str
    """``collection``, ``member``, ``extensions`` or ``extension``."""
    ending: str | None
    """``json``, ``xml`` or None."""
    project_id: str | None
    server_id: str = ""
    volume_id: str = ""


class Router:
    """One Routes mapper."""

    def __init__(self) -> None:
        """Connect the routes."""
        self._mapper = Mapper(explicit=True, controller_scan=None, always_scan=False)
        for prefix in ("", "/{project_id}"):
            collection = f"{prefix}/servers/{{server_id}}/{ATTACHMENTS}"
            self._mapper.connect(collection, controller="collection")
            self._mapper.connect(f"{collection}/{{volume_id}}", controller="member")
        # Keystone's form of an id, so that /servers/extensions stays the server of that name.
        form: Any = {"requirements": {"project_id": "[0-9a-f-]{32,36}"}}
        for prefix in ("", "/{project_id}"):
            self._mapper.connect(f"{prefix}/{EXTENSIONS}", controller="extensions", **form)
            self._mapper.connect(f"{prefix}/{EXTENSIONS}/{ALIAS}", controller="extension", **form)
        self._mapper.create_regs([])

    def match(self, path: str) -> Match | None:
        """Say what a path (PATH_INFO: bytes, one a character) is to us; None if it is not ours."""
        path, ending = _cut(path)
        # The mapper's expressions end in "$", which a line's end may follow.
        found: dict[str, Any] | None = None if path.endswith("\n") else self._mapper.match(path)
        if found is None:
            return None
        return Match(
            found["controller"],
            ending,
            found.get("project_id"),
            _text(found.get("server_id", "")),
            _text(found.get("volume_id", "")),
        )


def _cut(path: str) -> tuple[str, str | None]:
    """Cut a trailing slash or a ``.json`` or ``.xml`` off a path."""
    if path.endswith("/"):
        return path[:-1], None
    stem, dot, ending = path.rpartition(".")
    return (stem, ending) if dot and ending in ("json", "xml") else (path, None)


def _text(raw: str) -> str:
    return raw if raw.isascii() else raw.encode("latin-1", "replace").decode("utf-8", "backslashreplace")
