"""The index of pending rows, which every run of reconcile searches for; there are few."""

import sqlalchemy as sa
from alembic import op

from os_volume_ext.registry.migrations.portable import has_index

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NAME = "ix_attachments_pending"


def upgrade() -> None:
    """Make the index."""
    pending = sa.text("state != 'attached'")
    if not has_index("attachments", _NAME):
        op.create_index(_NAME, "attachments", ["state"], postgresql_where=pending, sqlite_where=pending)
