"""Alembic's directory: the revisions of the tables."""
