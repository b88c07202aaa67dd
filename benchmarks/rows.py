"""Rows of the registry, made with ``sqlite3`` alone, and a connection with the registry's settings."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

INSERT = """
INSERT INTO attachments (volume_id, server_id, exclusive_volume_id, project_id, device, root, delete_on_termination, id,
                         state, request_id, claim_id, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, 0, 0, 'fac7e9a4-54c1-4a3e-8a44-6f1f0b9a2c11', ?, 'req-1', 'c', ?, ?)
"""
NOW = "2026-01-01 00:00:00.000000"


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in "busy_timeout = 10000", "journal_mode = WAL", "synchronous = FULL":
        connection.execute(f"PRAGMA {pragma}")
    return connection


def fill(path: Path, pairs: Iterable[tuple[str, str]], project_id: str = "demo") -> None:
    """Insert attachments of a project.

    :param path: the database.
    :param pairs: the ids of a volume and a server each.
    :param project_id: the project.
    """
    connection = connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.executemany(
        INSERT,
        (
            (volume, server, volume, project_id, f"/dev/vd{number}", "attached", NOW, NOW)
            for number, (volume, server) in enumerate(pairs)
        ),
    )
    connection.execute("COMMIT")
    connection.close()


def volume_ids(dialect: str, count: int) -> list[str]:
    """Return sorted ids of equal length."""
    if dialect == "cyclades":
        return [str(1_000_000 + number) for number in range(count)]
    return [f"a26887c6-c47b-4654-abb5-{number:012x}" for number in range(count)]
