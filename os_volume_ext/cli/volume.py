"""``os-volume-ext volume``: the volumes of the sql catalog."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.command import Command
from cliff.lister import Lister
from cliff.show import ShowOne

from ..catalog.sql import SQLCatalog
from ..errors import ConfigurationError
from ..models import Volume
from ..registry.attachments import Registry
from . import config

COLUMNS = ("id", "project_id", "source", "format", "multiattach")


def _row(volume: Volume) -> Sequence[Any]:
    return tuple(getattr(volume, column) for column in COLUMNS)


class SQLCatalogCommand:
    """The sql catalog of the filter that is meant."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        assembly = config.assembly(arguments)
        if not isinstance(assembly.catalog, SQLCatalog):
            raise ConfigurationError(f"the volumes are in the catalog {assembly.settings.catalog!r}: manage them there")
        self.catalog: SQLCatalog = assembly.catalog
        self.registry: Registry = assembly.registry
        self._settings = assembly.settings

    def volume_id(self, text: str) -> str:
        return config.canonical_id(text, self._settings, "volume")


class Create(config.FilterCommand, ShowOne):  # type: ignore[misc]
    """Add a volume to the catalog."""

    # --format is the volume's here; the output's is -f.
    conflict_handler = "resolve"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="the volume's id, in the dialect's form")
        parser.add_argument("--project", required=True, help="the id of the project that owns it")
        parser.add_argument("--source", help="where its bytes are, in the backend's words, such as a path")
        parser.add_argument("--format", dest="volume_format", help="such as raw or qcow2")
        parser.add_argument("--multiattach", action="store_true", help="it may be attached to several servers at once")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        filled = SQLCatalogCommand(parsed_args)
        volume = Volume(
            filled.volume_id(parsed_args.id),
            parsed_args.project,
            parsed_args.source,
            parsed_args.volume_format,
            parsed_args.multiattach,
        )
        filled.catalog.create(volume)
        return COLUMNS, _row(volume)


class List(config.FilterCommand, Lister):  # type: ignore[misc]
    """List the volumes of the catalog."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--project", help="only those of this project")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        return COLUMNS, map(_row, SQLCatalogCommand(parsed_args).catalog.list_volumes(parsed_args.project))


class Show(config.FilterCommand, ShowOne):  # type: ignore[misc]
    """Show a volume, and the servers it is attached to."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="the volume's id")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        filled = SQLCatalogCommand(parsed_args)
        volume = filled.catalog.get(filled.volume_id(parsed_args.id))
        servers = [row.server_id for row in filled.registry.of_volume(volume.id)]
        return (*COLUMNS, "servers"), (*_row(volume), ", ".join(servers))


class Delete(config.FilterCommand, Command):  # type: ignore[misc]
    """Take a volume out of the catalog; its bytes stay where they are. An attached one is refused."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="the volume's id")

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        filled = SQLCatalogCommand(parsed_args)
        filled.catalog.delete(volume_id=filled.volume_id(parsed_args.id))
