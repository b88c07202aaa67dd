"""The locks of servers, which transactions that count a server's attachments change."""

import sqlalchemy as sa
from alembic import op

from os_volume_ext.registry.migrations.portable import has_table, mariadb_options

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COUNT = 256


def upgrade() -> None:
    """Make the table and its rows."""
    if not has_table("server_locks"):
        op.create_table(
            "server_locks",
            sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
            sa.Column("uses", sa.BigInteger, nullable=False),
            sa.PrimaryKeyConstraint("id", name="pk_server_locks"),
            **mariadb_options(op.get_bind().dialect),
        )
    locks = sa.table("server_locks", sa.column("id", sa.Integer), sa.column("uses", sa.BigInteger))
    if op.get_bind().execute(sa.select(locks.c.id).limit(1)).first() is None:
        op.bulk_insert(locks, [{"id": number, "uses": 0} for number in range(_COUNT)])
