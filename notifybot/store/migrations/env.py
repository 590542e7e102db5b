"""Alembic's entry: run the migrations on the connection that the store handed over."""

from alembic import context

from notifybot.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, render_as_batch=True, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
