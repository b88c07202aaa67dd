"""``os-volume-ext db``: the schema of the registry's database."""

import argparse
from collections.abc import Sequence
from typing import Any

from cliff.command import Command
from cliff.show import ShowOne

from ..registry import schema
from ..registry.database import Database
from ..settings import Settings
from . import config


class Upgrade(config.FilterCommand, Command):  # type: ignore[misc]
    """Upgrade the registry's database to the revision that this version needs."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        database = config.make(parsed_args, _upgrade)
        self.app.stdout.write(f"{database} is at revision {schema.current(database)}\n")


class Current(config.FilterCommand, ShowOne):  # type: ignore[misc]
    """Show the revision of the registry's database, and the one that this version needs."""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        database, current = config.make(parsed_args, _current)
        return ("database", "current", "needed"), (str(database), current, schema.HEAD)


def _upgrade(settings: Settings) -> Database:
    database = Database(settings.database_options)
    schema.upgrade(database)
    return database


def _current(settings: Settings) -> tuple[Database, str | None]:
    database = Database(settings.database_options, read_only=True)
    return database, schema.current(database)
