"""What a section has in its database, for the commands that need neither its backend nor the API."""

from dataclasses import dataclass

from . import plugins
from .catalog.base import VolumeCatalog
from .registry import schema
from .registry.attachments import Registry
from .registry.database import Database
from .settings import Settings


@dataclass(frozen=True)
class Records:
    """What a section has in its database."""

    settings: Settings
    database: Database
    registry: Registry

    def close(self) -> None:
        """Close the connections to the database."""
        self.database.dispose()


def open_records(settings: Settings, *, read_only: bool = False) -> Records:
    """Open the database of a section, without making its backend.

    :param read_only: whether an SQLite file is only read, and not upgraded.
    :raises ConfigurationError: if an option is invalid, or the schema is not current, with the command to run.
    """
    database = Database(settings.database_options, read_only=read_only)
    schema.ensure(database)
    return Records(settings, database, Registry(database))


def make_catalog(settings: Settings, database: Database) -> VolumeCatalog:
    """Load the catalog that the settings name.

    :raises ConfigurationError: if it can't be loaded, or one of its options is invalid.
    """
    plugin = plugins.load("catalog", settings.catalog, VolumeCatalog)
    catalog: VolumeCatalog = plugin.make(settings.catalog_options, database)
    return catalog
