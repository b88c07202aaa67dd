"""``os-volume-ext db``: the schema of the registry's database."""

import argparse
from collections.abc import Sequence
from typing import Any

from cliff.command import Command
from cliff.show import ShowOne

from ..registry import schema
from ..registry.database import Database
from . import config


class Upgrade(config.FilterCommand, Command):  # type: ignore[misc]
    """Upgrade the registry's database to the revision that this version needs."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        database = Database(config.settings(parsed_args).database_options)
        schema.upgrade(database)
        self.app.stdout.write(f"{database} is at revision {schema.current(database)}\n")


class Current(config.FilterCommand, ShowOne):  # type: ignore[misc]
    """Show the revision of the registry's database, and the one that this version needs."""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        database = Database(config.settings(parsed_args).database_options, read_only=True)
        return ("database", "current", "needed"), (str(database), schema.current(database), schema.HEAD)
