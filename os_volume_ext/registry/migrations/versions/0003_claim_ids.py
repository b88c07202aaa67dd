"""The id of each row's claim, which nothing but the claim decides: request ids can be the client's."""

import sqlalchemy as sa
from alembic import op

from os_volume_ext.registry.migrations.portable import has_column

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. The workers are stopped, so that any values do that differ."""
    if not has_column("attachments", "claim_id"):
        with op.batch_alter_table("attachments") as batch:
            batch.add_column(sa.Column("claim_id", sa.String(36)))
    op.execute("UPDATE attachments SET claim_id = id WHERE claim_id IS NULL")
    with op.batch_alter_table("attachments") as batch:
        batch.alter_column("claim_id", existing_type=sa.String(36), nullable=False)
