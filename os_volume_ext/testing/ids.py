"""Ids that a careless comparison takes for another one."""

from collections.abc import Callable, Sequence

Change = Callable[[str], str]

PLAIN_CHANGES: Sequence[Change] = (
    lambda name: f"{name}0",
    lambda name: f"0{name}",
    lambda name: name[:-1],
    lambda name: name[1:],
    lambda name: name[:-1] + _other(name[-1]),
    lambda name: _other(name[0]) + name[1:],
    str.upper,
    str.lower,
)
"""Changes to characters that ids have: one more, one less, another one, and another case."""

OTHER_CHANGES: Sequence[Change] = (
    lambda name: f"{name} ",
    lambda name: f" {name}",
    lambda name: f"{name}\n",
    lambda name: f"{name}/",
    lambda name: f"./{name}",
    lambda name: f"{name}?",
    lambda name: f"{name}#",
    lambda name: f"{name[:-1]}*",
    lambda name: f"{name[:-1]}?",
    lambda name: f"{name[:-1]}%",
    lambda name: f"{name[:-1]}_",
)
"""Changes to characters that are removed, or have a meaning, in a path, a URL or a pattern."""


def similar_ids(of: str) -> list[str]:
    """Return ids that are not this one, and that a careless comparison takes for it."""
    return [similar for change in (*PLAIN_CHANGES, *OTHER_CHANGES) if (similar := change(of)) != of]


def _other(character: str) -> str:
    return "1" if character != "1" else "2"
