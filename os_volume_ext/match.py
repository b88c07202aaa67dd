"""What a path of ours stands for; ``routing`` finds it."""

from typing import NamedTuple


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
