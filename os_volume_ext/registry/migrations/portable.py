"""What revisions share to be the same on every database. Like them, it stays what it is: what differs is added."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

# Not tables.UTCDateTime: a revision stays what it was, whatever becomes of the package.
moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def mariadb_options(dialect: Any) -> dict[str, Any]:
    """Return what has MariaDB and MySQL compare text as the others do: by letter case, accents, spaces at the end."""
    if dialect.name not in ("mysql", "mariadb"):
        return {}
    collate = "utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin"
    options = {"engine": "InnoDB", "charset": "utf8mb4", "collate": collate}
    return {f"{dialect.name}_{name}": value for name, value in options.items()}


# MariaDB commits each statement: an upgrade that was interrupted, or another one meanwhile, may have made a step.


def has_table(name: str) -> bool:
    """Return whether a table is there already."""
    return sa.inspect(op.get_bind()).has_table(name)


def has_column(table: str, name: str) -> bool:
    """Return whether a table has a column already."""
    return name in {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}


def has_index(table: str, name: str) -> bool:
    """Return whether a table has an index already."""
    return sa.inspect(op.get_bind()).has_index(table, name)
