"""Usage reports: overlapping counts become disjoint ones, and impossible reports are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core.usage import (
    LARGEST_COUNT,
    Usage,
    from_chat,
    from_completions,
    from_embeddings,
    from_responses,
)
from keyguard_jupyter.errors import UsageError


def chat(prompt=100, completion=50, **more):
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def details(**counts):
    return chat(prompt_tokens_details=counts)


def written(**counts):
    return chat(completion_tokens_details=counts)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (chat(), Usage(input=100, output=50)),
        (chat(total_tokens=150), Usage(input=100, output=50)),
        (chat(0, 0, total_tokens=0), Usage()),
        (chat(prompt_tokens_details=None, completion_tokens_details=None), Usage(input=100, output=50)),
        (details(cached_tokens=None, audio_tokens=None), Usage(input=100, output=50)),
        (details(cached_tokens=64), Usage(input=36, cached=64, output=50)),
        (details(cached_tokens=40, cache_write_tokens=60), Usage(cached=40, cache_write=60, output=50)),
        (details(audio_tokens=30, text_tokens=70), Usage(input=70, audio_input=30, output=50)),
        (details(image_tokens=30, text_tokens=70), Usage(input=70, image_input=30, output=50)),
        (
            details(audio_tokens=20, image_tokens=30, cached_tokens=90),
            Usage(cached=80, cached_audio=10, audio_input=10, output=50),
        ),
        (
            details(image_tokens=80, cache_write_tokens=50),
            Usage(cache_write=50, image_input=50, output=50),
        ),
        (details(audio_tokens=80, cache_write_tokens=50), Usage(cache_write=20, audio_input=80, output=50)),
        (written(reasoning_tokens=20), Usage(input=100, output=50, reasoning=20)),
        (
            written(audio_tokens=30, reasoning_tokens=20, text_tokens=20),
            Usage(input=100, output=20, audio_output=30, reasoning=20),
        ),
        (written(image_tokens=30), Usage(input=100, output=20, image_output=30)),
        (written(accepted_prediction_tokens=20, rejected_prediction_tokens=30), Usage(input=100, output=50)),
    ],
)
def test_chat_parts_are_disjoint(report, expected):
    """Each token of a chat report is counted as exactly one kind."""
    assert from_chat(report) == expected
    assert from_completions(report) == expected


def test_long_cache_writes_are_told_apart():
    """Tokens written for 12 hours are counted as such even if nobody asked for it; the rest is the default time."""
    usage = from_responses(
        {
            "input_tokens": 100,
            "input_tokens_details": {
                "cached_tokens": 10,
                "cache_write_tokens": 80,
                "cache_write_tokens_details": {"ttl_12h_tokens": 50, "ttl_30m_tokens": 20},
            },
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 7},
            "total_tokens": 107,
        }
    )
    assert usage == Usage(input=10, cached=10, cache_write=30, cache_write_12h=50, output=7, reasoning=7)
    assert usage.input_total == 100
    assert usage.output_total == 7
    assert usage.total == 107


def test_cache_writes_by_time_alone():
    """The split by time counts even where the sum is missing."""
    usage = from_chat(details(cache_write_tokens_details={"ttl_12h_tokens": 50, "ttl_30m_tokens": 20}))
    assert usage == Usage(input=30, cache_write=20, cache_write_12h=50, output=50)


def test_long_writes_of_images():
    """Images that are written to a cache are billed as the write, the longer time first."""
    report = details(image_tokens=90, cache_write_tokens=80, cache_write_tokens_details={"ttl_12h_tokens": 50})
    assert from_chat(report) == Usage(cache_write_12h=50, cache_write=30, image_input=20, output=50)


def test_total_beyond_the_sum_is_output():
    """Reasoning that a server counts in the total alone is output, even when it exceeds the completion."""
    report = chat(100, 5, total_tokens=305, completion_tokens_details={"reasoning_tokens": 200})
    assert from_chat(report) == Usage(input=100, output=205, reasoning=200)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(input=8)),
        ({"prompt_tokens": 8}, Usage(input=8)),
        ({"prompt_tokens": 8, "total_tokens": 9}, Usage(input=9)),
        ({"prompt_tokens": 8, "completion_tokens": 0, "prompt_tokens_details": None}, Usage(input=8)),
        ({"prompt_tokens": 8, "prompt_tokens_details": {"cached_tokens": 3}}, Usage(input=5, cached=3)),
    ],
)
def test_embeddings_only_read(report, expected):
    """Embeddings write nothing; what the total has more is input."""
    assert from_embeddings(report) == expected


@pytest.mark.parametrize("value", [None, -1, 1.0, "5", True, [1], LARGEST_COUNT + 1, 10**400])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_required_counts(name, value):
    """A count that is missing, negative, absurd or not a whole number makes the report impossible."""
    with pytest.raises(UsageError, match=name):
        from_chat(chat() | {name: value})


@pytest.mark.parametrize(
    "report",
    [
        None,
        [],
        "usage",
        {},
        {"prompt_tokens": 1},
        {"completion_tokens": 1},
        chat(prompt_tokens_details=[]),
        chat(completion_tokens_details=3),
        chat(total_tokens=149),
        chat(total_tokens="150"),
        details(cached_tokens=101),
        details(cached_tokens=-1),
        details(cached_tokens=True),
        details(cached_tokens=60, cache_write_tokens=41),
        details(audio_tokens=60, image_tokens=41),
        details(audio_tokens=60, text_tokens=41),
        details(cache_write_tokens=10, cache_write_tokens_details={"ttl_12h_tokens": 6, "ttl_30m_tokens": 5}),
        details(cache_write_tokens_details={"ttl_12h_tokens": 101}),
        details(cache_write_tokens_details=7),
        written(reasoning_tokens=51),
        written(reasoning_tokens=30, audio_tokens=21),
        written(text_tokens=30, audio_tokens=21),
        written(accepted_prediction_tokens=30, rejected_prediction_tokens=21),
    ],
)
def test_impossible_reports_are_refused(report):
    """Parts that exceed their whole, and what is not a report at all, are refused rather than guessed."""
    with pytest.raises(UsageError, match="impossible usage"):
        from_chat(report)


@pytest.mark.parametrize("read", [from_responses, from_embeddings])
def test_other_readers_refuse_too(read):
    """Every reader insists on its own names."""
    for report in ({}, None, {"input_tokens": 5}, {"total_tokens": 5}):
        with pytest.raises(UsageError):
            read(report)
    with pytest.raises(UsageError):
        from_embeddings({"prompt_tokens": 8, "total_tokens": 7})


COUNT = st.integers(0, 60)
DETAILS = st.fixed_dictionaries(
    {},
    optional={
        name: st.none() | COUNT
        for name in (
            "cached_tokens",
            "cache_write_tokens",
            "audio_tokens",
            "image_tokens",
            "text_tokens",
            "reasoning_tokens",
            "accepted_prediction_tokens",
            "rejected_prediction_tokens",
        )
    }
    | {"cache_write_tokens_details": st.fixed_dictionaries({"ttl_12h_tokens": COUNT, "ttl_30m_tokens": COUNT})},
)


@given(prompt=st.integers(0, 200), completion=st.integers(0, 200), read=DETAILS, wrote=DETAILS, more=st.integers(-5, 5))
def test_nothing_is_lost_or_counted_twice(prompt, completion, read, wrote, more):
    """Whatever the details say: no part is negative, and the parts add up to what was reported."""
    total = prompt + completion + more
    report = chat(prompt, completion, total_tokens=total, prompt_tokens_details=read, completion_tokens_details=wrote)
    try:
        usage = from_chat(report)
    except UsageError:
        return
    assert min(getattr(usage, name) for name in Usage.__slots__) >= 0
    assert usage.input_total == prompt
    assert usage.total == total
    assert usage.reasoning <= usage.output
    assert usage.audio_input + usage.cached_audio == (read.get("audio_tokens") or 0)
    assert usage.cached + usage.cached_audio == (read.get("cached_tokens") or 0)
