"""``os-volume-ext attachment``: the rows of the registry."""

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cliff.command import Command
from cliff.lister import Lister
from cliff.show import ShowOne

from ..api import members
from ..api.faults import BadRequest
from ..errors import ConfigurationError, NotAdopted, NotForceDetached
from ..models import STATES, Attachment
from ..settings import Settings
from . import config

if TYPE_CHECKING:
    from ..attachments.force_detach import Plan

COLUMNS = ("server_id", "volume_id", "device", "state", "root", "project_id", "created_at")
_NOT_SHOWN = {"exclusive", "age"}  # they follow from the volume and from updated_at
_OTHERS = (field.name for field in dataclasses.fields(Attachment) if field.name not in {*COLUMNS, *_NOT_SHOWN})
DETAILS = (*COLUMNS, *_OTHERS)
MAX_CLIENT = 100  # characters


def _values(attachment: Attachment, columns: Sequence[str]) -> Sequence[Any]:
    values = (getattr(attachment, column) for column in columns)
    return tuple(value.isoformat() if hasattr(value, "isoformat") else value for value in values)


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", help="the server's id")
    parser.add_argument("volume", help="the volume's id")


def _ids(arguments: argparse.Namespace, settings: Settings) -> tuple[str, str]:
    return (
        config.canonical_id(arguments.server, settings, "server"),
        config.canonical_id(arguments.volume, settings, "volume"),
    )


def _check_device(device: str) -> None:
    try:
        members.device(device)
    except BadRequest as error:
        raise ConfigurationError(f"--device is {device[:50]!r}: {error.message}") from error


class List(config.FilterCommand, Lister):  # type: ignore[misc]
    """List attachments in all states."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--server", help="only attachments to this server")
        parser.add_argument("--volume", help="only attachments of this volume")
        parser.add_argument("--project", action=config.Text, help="only attachments of this project")
        parser.add_argument("--state", choices=STATES, help="only attachments in this state")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        server_id, volume_id = parsed_args.server, parsed_args.volume
        with config.records(parsed_args, read_only=True) as records:
            found = records.registry.find(
                server_id=config.optional_id(server_id, records.settings, "server"),
                volume_id=config.optional_id(volume_id, records.settings, "volume"),
                project_id=parsed_args.project,
                state=parsed_args.state,
            )
            return COLUMNS, [_values(attachment, COLUMNS) for attachment in found]


class Show(config.FilterCommand, ShowOne):  # type: ignore[misc]
    """Show all columns of an attachment."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_ids(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        with config.records(parsed_args, read_only=True) as records:
            server_id, volume_id = _ids(parsed_args, records.settings)
            found = records.registry.get(server_id, volume_id)
        if found is None:
            raise LookupError(f"Volume {volume_id} is not attached to server {server_id}.")
        return DETAILS, _values(found, DETAILS)


class Adopt(config.FilterCommand, ShowOne):  # type: ignore[misc]
    """Add an unmanaged disk of a server to the registry."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_ids(parser)
        parser.add_argument("--device", help="such as /dev/vdb (default: the backend's)")
        parser.add_argument("--root", action="store_true", help="the server boots from it; it can't be detached")
        parser.add_argument(
            "--project", action=config.Text, help="the owning project (default: the compute API's or the catalog's)"
        )

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        if parsed_args.device is not None:
            _check_device(parsed_args.device)
        with config.assembled(parsed_args, create=True) as assembly:
            server_id, volume_id = _ids(parsed_args, assembly.settings)
            assembly.adopter().adopt(
                server_id,
                volume_id,
                device=parsed_args.device,
                root=parsed_args.root,
                project_id=parsed_args.project,
            )
            found = assembly.registry.get(server_id, volume_id)
        if found is None:
            raise NotAdopted("the row was removed concurrently by another operation")
        return DETAILS, _values(found, DETAILS)


class Remove(config.FilterCommand, Command):  # type: ignore[misc]
    """Remove an attachment whose disk the server does not have; the volume stays."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_ids(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        with config.assembled(parsed_args) as assembly:
            assembly.remover().remove(*_ids(parsed_args, assembly.settings))


class ForceDetach(config.FilterCommand, Command):  # type: ignore[misc]
    """Detach a volume from a server whose host is lost: cut the server off in the storage; the volume stays."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_ids(parser)
        parser.add_argument(
            "--client",
            metavar="ADDRESS",
            dest="clients",
            action="append",
            default=[],
            help="cut off this client of the storage too; may be given several times",
        )
        parser.add_argument("--dry-run", action="store_true", help="show what would be done")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        for each in parsed_args.clients:
            config.check_text("--client", each, MAX_CLIENT)
        with config.assembled(parsed_args, read_only=parsed_args.dry_run) as assembly:
            detacher = assembly.force_detacher()
            plan = detacher.plan(*_ids(parsed_args, assembly.settings))
            clients = list(dict.fromkeys([*plan.clients, *parsed_args.clients]))
            self.app.stdout.write(_describe(plan, clients))
            if parsed_args.dry_run:
                return
            if not parsed_args.yes:
                self._confirm()
            detacher.carry_out(plan, clients)

    def _confirm(self) -> None:
        """Ask whether to go on.

        :raises NotForceDetached: if there is nobody to ask, or the answer is not yes.
        """
        if not self.app.stdin.isatty():
            raise NotForceDetached("nothing was changed: to go on without a terminal, pass --yes")
        self.app.stdout.write("Go on? Type yes or no: ")
        self.app.stdout.flush()
        if self.app.stdin.readline().strip() != "yes":
            raise NotForceDetached("nothing was changed")


def _describe(plan: "Plan", clients: Sequence[str]) -> str:
    lines = [
        f"Server {plan.row.server_id}, host {plan.server.host or 'unknown'}: {plan.reason}",
        f"Volume {plan.row.volume_id}, {plan.row.state}: it will be free for other servers",
        *(f"Client {each}: it will be cut off from the storage" for each in clients),
        "What the server has not written yet is lost, and what it writes later fails.",
    ]
    return "".join(f"{line}\n" for line in lines)
