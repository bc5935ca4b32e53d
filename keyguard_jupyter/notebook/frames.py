"""Usage as a pandas frame, or as plain rows where pandas is missing.

Columns, one row per call, oldest first:

=================  ======================  =====================================================================
column             type                    meaning
=================  ======================  =====================================================================
id                 string                  the call's own id
at                 datetime, UTC           when it began
endpoint           category                ``chat``, ``responses``, ``embeddings``, ``completions``, ``moderations``
model              category                the model asked for
model_answered     category                the model that the provider says it used
stream             boolean                 whether it was streamed
input_tokens       Int64                   all tokens sent in, cached ones included
cached_tokens      Int64                   those of them that were cheaper because the provider had them cached
output_tokens      Int64                   all tokens that came back, reasoning included
reasoning_tokens   Int64                   those of them that the model thought and did not say
cost_usd           object of Decimal       dollars, exact: ``frame["cost_usd"].sum()`` is exact too
cost_nano          Int64                   the same in nano-dollars (1 USD = 1,000,000,000), for quick arithmetic
notebook           category                the notebook's path, where known
kernel_id          category                the kernel
key_id             category                the virtual key
key_suffix         category                the last characters of that key
outcome            category                ``ok``, or in a word why it did not end so
duration_ms        Int64                   how long it took, in milliseconds
=================  ======================  =====================================================================

There is no column of floats on purpose: 0.1 + 0.2 is not 0.3 there.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .quotas import read_moment, read_usd

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES = ("endpoint", "model", "model_answered", "notebook", "kernel_id", "key_id", "key_suffix", "outcome")
COUNTS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost_nano", "duration_ms")
COLUMNS = (
    "id",
    "at",
    "endpoint",
    "model",
    "model_answered",
    "stream",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_usd",
    "cost_nano",
    "notebook",
    "kernel_id",
    "key_id",
    "key_suffix",
    "outcome",
    "duration_ms",
)


def read_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Turn rows of ``/api/me/usage`` into rows of ``COLUMNS``: instants as datetimes, money as Decimal and integer."""
    return [_read_row(row) for row in rows]


def build_frame(rows: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    """Turn rows of ``/api/me/usage`` into a frame; an empty one has the same columns and types.

    Raises:
        ImportError: pandas is not installed here.
    """
    import pandas as pd

    frame = pd.DataFrame(read_rows(rows), columns=list(COLUMNS))
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    types = dict.fromkeys(CATEGORIES, "category") | dict.fromkeys(COUNTS, "Int64")
    return frame.astype({**types, "id": "string", "stream": "boolean", "cost_usd": "object"})


def _read_row(row: Mapping[str, Any]) -> dict[str, Any]:
    moment: datetime = read_moment(row["at"])
    computed = {
        "at": moment,
        "cost_usd": Decimal(row["cost_usd"]),
        "cost_nano": read_usd(row["cost_usd"]),
    }
    return {name: computed[name] if name in computed else row[name] for name in COLUMNS}
