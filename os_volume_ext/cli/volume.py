"""``os-volume-ext volume``: the volumes of the sql catalog."""

import argparse
import dataclasses
import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from cliff.command import Command
from cliff.lister import Lister
from cliff.show import ShowOne

from ..catalog.sql import SQLCatalog
from ..errors import ConfigurationError
from ..models import Volume
from ..records import Records, make_catalog
from ..registry.database import Database
from ..settings import Settings
from . import config

COLUMNS = tuple(field.name for field in dataclasses.fields(Volume) if field.compare)
_row = operator.attrgetter(*COLUMNS)


class SQLCatalogCommand(config.FilterCommand):
    """A command about the volumes of a filter's sql catalog."""

    @contextmanager
    def catalog(
        self, arguments: argparse.Namespace, *, create: bool = False, read_only: bool = False
    ) -> Iterator[tuple[SQLCatalog, Records]]:
        """Provide the catalog, with the registry of its filter.

        :param create: whether a missing SQLite file is created.
        :param read_only: whether an SQLite file is not upgraded.
        :raises ConfigurationError: if the filter has another catalog.
        """
        with config.records(arguments, create=create, read_only=read_only) as records:
            yield config.make(arguments, partial(_make_catalog, database=records.database)), records


def _make_catalog(settings: Settings, database: Database) -> SQLCatalog:
    catalog = make_catalog(settings, database)
    if not isinstance(catalog, SQLCatalog):
        raise ConfigurationError(
            f"the filter's volumes are in the catalog {settings.catalog!r}, not in sql: manage them there"
        )
    return catalog


def _volume_id(arguments: argparse.Namespace, records: Records) -> str:
    return config.canonical_id(arguments.id, records.settings, "volume")


class Create(SQLCatalogCommand, ShowOne):  # type: ignore[misc]
    """Add a volume to the catalog."""

    # --format is the volume's; the output's is -f.
    conflict_handler = "resolve"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="the volume's id, in the dialect's format")
        parser.add_argument("--project", required=True, action=config.Text, help="the id of the owning project")
        parser.add_argument(
            "--source", action=config.Text, maximum=1024, help="where the backend finds its data, such as a path"
        )
        parser.add_argument(
            "--format",
            dest="volume_format",
            action=config.Text,
            maximum=32,
            help="the format of the data, such as raw or qcow2",
        )
        parser.add_argument("--multiattach", action="store_true", help="allow attaching it to several servers at once")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        with self.catalog(parsed_args, create=True) as (catalog, records):
            volume = Volume(
                _volume_id(parsed_args, records),
                parsed_args.project,
                parsed_args.source,
                parsed_args.volume_format,
                parsed_args.multiattach,
            )
            catalog.create(volume)
        return COLUMNS, _row(volume)


class List(SQLCatalogCommand, Lister):  # type: ignore[misc]
    """List the volumes of the catalog."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--project", action=config.Text, help="only volumes of this project")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        with self.catalog(parsed_args, read_only=True) as (catalog, _):
            return COLUMNS, [_row(volume) for volume in catalog.list_volumes(parsed_args.project)]


class Show(SQLCatalogCommand, ShowOne):  # type: ignore[misc]
    """Show a volume, and the servers it is attached to."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="the volume's id")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        with self.catalog(parsed_args, read_only=True) as (catalog, records):
            volume = catalog.get(_volume_id(parsed_args, records))
            servers = [row.server_id for row in records.registry.of_volume(volume.id)]
        return (*COLUMNS, "servers"), (*_row(volume), ", ".join(servers))


class Delete(SQLCatalogCommand, Command):  # type: ignore[misc]
    """Remove a detached volume from the catalog; its data stays."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", help="the volume's id")

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        with self.catalog(parsed_args) as (catalog, records):
            catalog.delete(server_id=None, volume_id=_volume_id(parsed_args, records))
