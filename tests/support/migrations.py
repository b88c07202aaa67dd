"""Databases of earlier revisions of the schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from os_volume_ext.registry.database import Database
from tests.support.databases import direct_connection


def alembic_config() -> Config:
    """Return the configuration with which Alembic finds the package's migrations."""
    config = Config()
    config.set_main_option("script_location", "os_volume_ext.registry:migrations")
    return config


def upgrade_to(database: Database, revision: str) -> None:
    """Bring a database to a revision; a missing SQLite file is created."""
    if database.url.get_backend_name() == "sqlite":
        Path(str(database.url.database)).touch()
    config = alembic_config()
    with direct_connection(database) as config.attributes["connection"]:
        command.upgrade(config, revision)
