"""``os-volume-ext attachment``: the rows of the registry."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.lister import Lister
from cliff.show import ShowOne

from ..assembly import Assembly
from ..errors import NotAdopted
from ..models import STATES, Attachment
from . import config

COLUMNS = ("server_id", "volume_id", "device", "state", "root", "project_id", "created_at")
DETAILS = (
    *COLUMNS,
    *("id", "tag", "delete_on_termination"),
    *("updated_at", "request_id", "host", "instance_name", "source", "format"),
)


def _row(attachment: Attachment, columns: Sequence[str]) -> Sequence[Any]:
    values = (getattr(attachment, column) for column in columns)
    return tuple(value.isoformat() if hasattr(value, "isoformat") else value for value in values)


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", help="the server's id")
    parser.add_argument("volume", help="the volume's id")


def _ids(arguments: argparse.Namespace, assembly: Assembly) -> tuple[str, str]:
    return (
        config.canonical_id(arguments.server, assembly.settings, "server"),
        config.canonical_id(arguments.volume, assembly.settings, "volume"),
    )


class List(config.FilterCommand, Lister):  # type: ignore[misc]
    """List attachments, in whatever state."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--server", help="only those of this server")
        parser.add_argument("--volume", help="only those of this volume")
        parser.add_argument("--project", help="only those of this project")
        parser.add_argument("--state", choices=STATES, help="only those in this state")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        assembly = config.assembly(parsed_args)
        server_id, volume_id = parsed_args.server, parsed_args.volume
        found = assembly.registry.find(
            server_id=server_id and config.canonical_id(server_id, assembly.settings, "server"),
            volume_id=volume_id and config.canonical_id(volume_id, assembly.settings, "volume"),
            project_id=parsed_args.project,
            state=parsed_args.state,
        )
        return COLUMNS, (_row(attachment, COLUMNS) for attachment in found)


class Show(config.FilterCommand, ShowOne):  # type: ignore[misc]
    """Show all that the registry knows of an attachment."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_ids(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        assembly = config.assembly(parsed_args)
        server_id, volume_id = _ids(parsed_args, assembly)
        found = assembly.registry.get(server_id, volume_id)
        if found is None:
            raise LookupError(f"Volume {volume_id} is not attached to server {server_id}.")
        return DETAILS, _row(found, DETAILS)


class Adopt(config.FilterCommand, ShowOne):  # type: ignore[misc]
    """Take into the registry a disk that a server has already."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_ids(parser)
        parser.add_argument("--device", help="such as /dev/vdb (default: what the backend says)")
        parser.add_argument("--root", action="store_true", help="the server started from it: it can't be detached")
        parser.add_argument("--project", help="default: what the compute API or the catalog says")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        assembly = config.assembly(parsed_args)
        server_id, volume_id = _ids(parsed_args, assembly)
        assembly.adopter().adopt(
            server_id,
            volume_id,
            device=parsed_args.device,
            root=parsed_args.root,
            project_id=parsed_args.project,
        )
        found = assembly.registry.get(server_id, volume_id)
        if found is None:
            raise NotAdopted("the row was removed at once by another operation")
        return DETAILS, _row(found, DETAILS)
