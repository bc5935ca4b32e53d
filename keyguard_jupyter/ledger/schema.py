"""The tables. Amounts are whole nano-dollars, times are whole milliseconds since 1970 (UTC)."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

state = Table(
    "state",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
    comment="Single numbers; `revision` grows with every change of policy or keys.",
)

projects = Table(
    "projects",
    metadata,
    Column("name", String, primary_key=True),
    Column("revision", BigInteger, nullable=False, index=True),
)

scopes = Table(
    "scopes",
    metadata,
    Column("project", String, primary_key=True),
    Column("kind", String, primary_key=True, comment="project, group or person"),
    Column("name", String, primary_key=True),
    Column("document", Text, nullable=False, comment="what the scope says, as in the policy file (JSON)"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("hash", String, nullable=False, unique=True),
    Column("suffix", String, nullable=False),
    Column("project", String, nullable=False),
    Column("person", String, nullable=False),
    Column("label", String),
    Column("kind", String, nullable=False, comment="personal or kernel"),
    Column("kernel_id", String),
    Column("notebook", String),
    Column("settings", Text, nullable=False, comment="narrower rights of this key (JSON)"),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("leased_until", BigInteger, comment="kernel keys stop unless renewed by then"),
    Column("revoked_at", BigInteger),
    Column("revision", BigInteger, nullable=False, index=True),
)

counters = Table(
    "counters",
    metadata,
    Column("id", String, primary_key=True),
    Column("spent", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("ends", BigInteger, comment="when its window ends"),
    CheckConstraint("held >= 0", name="held_is_not_negative"),
    sqlite_with_rowid=False,
    comment="Spend per limit and window; can be computed anew from usage and holds.",
)

holds = Table(
    "holds",
    metadata,
    Column("id", String, primary_key=True),
    Column("process", String, nullable=False),
    Column("amounts", Text, nullable=False, comment="[[counter, unit, amount], …] (JSON)"),
    Column("call", Text, nullable=False, comment="who asked for what (JSON)"),
    sqlite_with_rowid=False,
    comment="Calls in flight.",
)

processes = Table(
    "processes",
    metadata,
    Column("id", String, primary_key=True),
    Column("boot", String, nullable=False, comment="which start of the machine"),
)

usage = Table(
    "usage",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False),
    Column("at", BigInteger, nullable=False, comment="when the money was held"),
    Column("project", String, nullable=False),
    Column("person", String, nullable=False),
    Column("groups", Text, nullable=False, comment="the person's groups at that time (JSON)"),
    Column("key_id", String, nullable=False),
    Column("key_suffix", String, nullable=False),
    Column("kernel_id", String),
    Column("notebook", String),
    Column("endpoint", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("model", String, nullable=False),
    Column("model_answered", String),
    Column("tier", String),
    Column("stream", Integer, nullable=False),
    Column("input_tokens", Integer, nullable=False, comment="all input tokens, of which:"),
    Column("cached_tokens", Integer, nullable=False),
    Column("cache_write_tokens", Integer, nullable=False),
    Column("audio_input_tokens", Integer, nullable=False),
    Column("image_input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False, comment="all output tokens, of which:"),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("audio_output_tokens", Integer, nullable=False),
    Column("image_output_tokens", Integer, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("price_version", String, nullable=False),
    Column("duration_ms", Integer),
    Column("outcome", String, nullable=False),
    Index("usage_by_person", "project", "person", "at"),
    comment="One row per call that was charged, or that a provider answered.",
)
