"""What a section has in its database, for the commands that need neither its backend nor the API."""

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from stevedore.named import NamedExtensionManager

from .catalog.base import VolumeCatalog
from .errors import ConfigurationError
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

    def catalog(self) -> VolumeCatalog:
        """Return the catalog that the settings name.

        :raises ConfigurationError: if it can't be loaded, or one of its options is invalid.
        """
        return make_catalog(self.settings, self.database)

    def close(self) -> None:
        """Close the connections to the database."""
        self.database.dispose()


def open_records(settings: Settings) -> Records:
    """Open the database of a section, without making its backend.

    :raises ConfigurationError: if an option is invalid, or the schema is not current, with the command to run.
    """
    database = Database(settings.database_options)
    schema.ensure(database)
    return Records(settings, database, Registry(database))


def make_catalog(settings: Settings, database: Database) -> VolumeCatalog:
    """Load the catalog that the settings name.

    :raises ConfigurationError: if it can't be loaded, or one of its options is invalid.
    """
    plugin = load_plugin("catalog", "os_volume_ext.catalogs", settings.catalog)
    catalog: VolumeCatalog = plugin(settings.catalog_options, database)
    return catalog


def load_plugin(option: str, group: str, name: str | None) -> Any:
    """Load a plugin.

    :param option: by which it is named, for messages.
    :param group: of entry points.
    :param name: the entry point's.
    :raises ConfigurationError: if there is none of that name, or it can't be imported.
    """

    def refuse(names: object) -> None:
        installed = sorted({point.name for point in entry_points(group=group)})
        raise ConfigurationError(f"{option} is {name!r}: installed are {', '.join(installed)}")

    def fail(manager: object, point: object, error: BaseException) -> None:
        raise ConfigurationError(f"{option} {name!r} can't be loaded: {error}") from error

    # stevedore caches what it has found in all distributions, which oslo.policy needs too.
    found: NamedExtensionManager[Any] = NamedExtensionManager(
        group, [str(name)], on_load_failure_callback=fail, on_missing_entrypoints_callback=refuse
    )
    return found[str(name)].plugin
