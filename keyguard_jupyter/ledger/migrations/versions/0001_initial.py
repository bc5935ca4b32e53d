"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "state",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO state (name, value) VALUES ('revision', 1)")
    op.create_table(
        "projects",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "scopes",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("hash", sa.String, nullable=False, unique=True),
        sa.Column("suffix", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("label", sa.String),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("kernel_id", sa.String),
        sa.Column("notebook", sa.String),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("leased_until", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "counters",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("ends", sa.BigInteger),
        sa.CheckConstraint("held >= 0", name="held_is_not_negative"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "holds",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("process", sa.String, nullable=False),
        sa.Column("amounts", sa.Text, nullable=False),
        sa.Column("call", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "processes",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("boot", sa.String, nullable=False),
    )
    op.create_table(
        "usage",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("groups", sa.Text, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("key_suffix", sa.String, nullable=False),
        sa.Column("kernel_id", sa.String),
        sa.Column("notebook", sa.String),
        sa.Column("endpoint", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("model_answered", sa.String),
        sa.Column("tier", sa.String),
        sa.Column("stream", sa.Integer, nullable=False),
        sa.Column("input_tokens", sa.Integer, nullable=False),
        sa.Column("cached_tokens", sa.Integer, nullable=False),
        sa.Column("cache_write_tokens", sa.Integer, nullable=False),
        sa.Column("audio_input_tokens", sa.Integer, nullable=False),
        sa.Column("image_input_tokens", sa.Integer, nullable=False),
        sa.Column("output_tokens", sa.Integer, nullable=False),
        sa.Column("reasoning_tokens", sa.Integer, nullable=False),
        sa.Column("audio_output_tokens", sa.Integer, nullable=False),
        sa.Column("image_output_tokens", sa.Integer, nullable=False),
        sa.Column("cost", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("price_version", sa.String, nullable=False),
        sa.Column("duration_ms", sa.Integer),
        sa.Column("outcome", sa.String, nullable=False),
    )
    op.create_index("usage_by_person", "usage", ["project", "person", "at"])
