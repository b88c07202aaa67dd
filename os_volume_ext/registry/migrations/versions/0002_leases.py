"""The leases: what only one worker is to do at a time."""

import sqlalchemy as sa
from alembic import op

from os_volume_ext.registry.migrations.portable import has_table, mariadb_options, moment

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    if not has_table("leases"):
        op.create_table(
            "leases",
            sa.Column("name", sa.String(36), nullable=False),
            sa.Column("holder", sa.String(255), nullable=False),
            sa.Column("taken_at", moment, nullable=False),
            sa.PrimaryKeyConstraint("name", name="pk_leases"),
            **mariadb_options(op.get_bind().dialect),
        )
