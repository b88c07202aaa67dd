"""Rows of the registry, made with a driver alone, and a connection with the registry's settings."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

# FALSE, since 0 is no boolean for PostgreSQL.
INSERT = """
INSERT INTO attachments (volume_id, server_id, exclusive_volume_id, project_id, device, state, created_at, updated_at,
                         root, delete_on_termination, request_id, id, claim_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, FALSE, FALSE, 'req-1',
        'fac7e9a4-54c1-4a3e-8a44-6f1f0b9a2c11', '0d0c2d0a-93a5-4b0b-a3a5-7b8ad5a3a1c0')
"""
INSERT_VOLUME = "INSERT INTO volumes (id, project_id, multiattach, created_at) VALUES (?, ?, FALSE, ?)"
NOW = "2026-01-01 00:00:00.000000"


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in "busy_timeout = 10000", "journal_mode = WAL", "synchronous = FULL":
        connection.execute(f"PRAGMA {pragma}")
    return connection


def fill(path: Path, pairs: Iterable[tuple[str, str]], project_id: str = "demo") -> None:
    """Insert attachments of a project into an SQLite file.

    :param path: the database.
    :param pairs: the ids of a volume and a server each.
    :param project_id: the project.
    """
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.executemany(INSERT, attached(pairs, project_id))
        connection.execute("COMMIT")


def attached(pairs: Iterable[tuple[str, str]], project_id: str = "demo") -> Iterator[tuple[Any, ...]]:
    """Yield the parameters of ``INSERT`` for attachments of a project."""
    for number, (volume, server) in enumerate(pairs):
        yield volume, server, volume, project_id, f"/dev/vd{number}", "attached", NOW, NOW


def in_psycopg(statement: str) -> str:
    """Return a statement in psycopg's syntax."""
    return statement.replace("?", "%s")


def volume_ids(dialect: str, count: int) -> list[str]:
    """Return sorted ids of equal length."""
    if dialect == "cyclades":
        return [str(1_000_000 + number) for number in range(count)]
    return [f"a26887c6-c47b-4654-abb5-{number:012x}" for number in range(count)]
