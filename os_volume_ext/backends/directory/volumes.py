"""The file of a volume: a file of its own, or a link to its source."""

import uuid
from contextlib import suppress
from pathlib import Path

from ..base import AttachRefused, Volume


def check_source(volume: Volume) -> None:
    """Check that the source of a volume exists, if it has one.

    :raises AttachRefused: if not.
    """
    # API clients read these messages, so they must not contain paths of the host.
    if volume.source is None:
        return
    if not Path(volume.source).is_absolute():
        raise AttachRefused(f"The source of volume {volume.id} is not an absolute path; correct it in the catalog.")
    if not Path(volume.source).exists():
        raise AttachRefused(f"The source of volume {volume.id} does not exist.")


def is_as_described(path: Path, volume: Volume) -> bool:
    """Return whether the file of a volume exists and is what the catalog describes."""
    if volume.source is None:
        return path.exists() and not path.is_symlink()
    return path.is_symlink() and path.readlink() == Path(volume.source)


def make_file(path: Path, volume: Volume) -> None:
    """Create the file of a volume without a source.

    :raises AttachRefused: if it is a link to a source.
    """
    if path.is_symlink():
        raise AttachRefused(
            f"Volume {volume.id} had a source when it was first attached and has none now; restore it in the catalog."
        )
    with suppress(FileExistsError):
        path.touch(0o600, exist_ok=False)


def make_link(path: Path, volume: Volume, source: str) -> None:
    """Make the file of a volume a link to its source.

    :raises AttachRefused: if it is a file of its own.
    """
    if path.exists() and not path.is_symlink():
        raise AttachRefused(
            f"Volume {volume.id} had no source when it was first attached and has one now; "
            "remove the source from the catalog."
        )
    # Renamed into place, to replace a link to the source that the catalog named before.
    new = path.with_name(f".{uuid.uuid4().hex}")
    new.symlink_to(source)
    new.replace(path)
