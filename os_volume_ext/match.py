"""What a path of ours stands for, and which methods it takes; ``routing`` finds it."""

from typing import NamedTuple

# GET stands for HEAD too.
_ACTIONS = {
    "collection": {"GET": "index", "POST": "create"},
    "member": {"GET": "show", "DELETE": "delete"},
}


class Match(NamedTuple):
    """A path of ours.

    ``resource`` is ``collection``, ``member``, ``extensions`` or ``extension``; the filter itself knows what to do
    with the last two. ``ending`` is ``json``, ``xml`` or None; the ids are as the path has them.
    """

    resource: str
    ending: str | None
    project_id: str | None
    server_id: str = ""
    attachment_id: str = ""

    def action(self, method: str) -> str | None:
        """Return the operation that a method stands for here; None if it is not allowed."""
        return _ACTIONS[self.resource].get("GET" if method == "HEAD" else method)

    @property
    def allow(self) -> str:
        """The methods that are allowed here, for the Allow header."""
        methods = list(_ACTIONS[self.resource])
        return ", ".join(["GET", "HEAD", *methods[1:]])
