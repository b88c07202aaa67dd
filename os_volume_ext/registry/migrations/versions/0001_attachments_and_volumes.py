"""The first tables: attachments, and the volumes of the sql catalog."""

import sqlalchemy as sa
from alembic import op

from os_volume_ext.registry.migrations.portable import has_index, has_table, mariadb_options, moment

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INDEX = "ix_attachments_server_id_created_at_volume_id"


def upgrade() -> None:
    """Make the tables."""
    options = mariadb_options(op.get_bind().dialect)
    if not has_table("attachments"):
        op.create_table(
            "attachments",
            sa.Column("volume_id", sa.String(36), nullable=False),
            sa.Column("server_id", sa.String(36), nullable=False),
            sa.Column("id", sa.String(36), nullable=False),
            sa.Column("exclusive_volume_id", sa.String(36)),
            sa.Column("project_id", sa.String(255), nullable=False),
            sa.Column("device", sa.String(255)),
            sa.Column("root", sa.Boolean, nullable=False),
            sa.Column("tag", sa.String(60)),
            sa.Column("delete_on_termination", sa.Boolean, nullable=False),
            sa.Column("state", sa.String(16), nullable=False),
            sa.Column("request_id", sa.String(255), nullable=False),
            sa.Column("created_at", moment, nullable=False),
            sa.Column("updated_at", moment, nullable=False),
            sa.Column("host", sa.String(255)),
            sa.Column("instance_name", sa.String(255)),
            sa.Column("source", sa.String(1024)),
            sa.Column("format", sa.String(32)),
            sa.PrimaryKeyConstraint("volume_id", "server_id", name="pk_attachments"),
            sa.UniqueConstraint("exclusive_volume_id", name="uq_attachments_exclusive_volume_id"),
            sa.UniqueConstraint("server_id", "device", name="uq_attachments_server_id_device"),
            **options,
        )
    if not has_index("attachments", INDEX):
        op.create_index(INDEX, "attachments", ["server_id", "created_at", "volume_id"])
    if not has_table("volumes"):
        op.create_table(
            "volumes",
            sa.Column("id", sa.String(36), nullable=False),
            sa.Column("project_id", sa.String(255), nullable=False),
            sa.Column("source", sa.String(1024)),
            sa.Column("format", sa.String(32)),
            sa.Column("multiattach", sa.Boolean, nullable=False),
            sa.Column("created_at", moment, nullable=False),
            sa.PrimaryKeyConstraint("id", name="pk_volumes"),
            **options,
        )
