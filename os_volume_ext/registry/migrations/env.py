"""What Alembic runs: the migrations, on the connection that ``schema`` gives. It leaves logging alone."""

from alembic import context

from os_volume_ext.registry.migrations.target import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
