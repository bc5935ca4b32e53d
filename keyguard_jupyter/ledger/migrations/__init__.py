"""Numbered migrations of the database, run at start by Alembic."""

HEAD = "0001"
"""The newest migration; a database that is there already needs no Alembic (half a second of imports)."""
