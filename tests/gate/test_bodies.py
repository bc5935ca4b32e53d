"""Bodies that are allowed: never a failure of ours, and never dearer than what was held for them."""

import functools
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.usage import from_responses
from tests.support.caller import CHAT, COMPLETIONS, EMBEDDINGS, HELLO, RESPONSES, Caller, assert_sound, code_of, query
from tests.support.gateway import Gateway
from tests.support.standin import StandIn

EXAMPLES = 40
LUNA = "gpt-6-luna"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAME = st.text("abcdefgh_", min_size=1, max_size=8)
NUMBER = st.integers(-5, 5) | st.floats(-2, 2)
SCHEMA = st.dictionaries(NAME, TEXT | st.booleans() | st.lists(NAME, max_size=3), max_size=3)
CAP = st.none() | st.integers(1, 5000) | st.just(10_000_000)
COUNT = st.none() | st.integers(1, 8)


def maybe(**fields: Any) -> dict[str, Any]:
    """Leave each field out half of the time."""
    return {name: st.none() | one for name, one in fields.items()}


def parts(kind: str) -> Any:
    """Write a text, or a list of parts of one kind."""
    return TEXT | st.lists(st.fixed_dictionaries({"type": st.just(kind), "text": TEXT}), max_size=3)


FUNCTION = st.fixed_dictionaries(
    {"name": NAME}, optional={"description": TEXT, "parameters": SCHEMA, "strict": st.booleans()}
)
CHAT_TOOL = st.fixed_dictionaries({"type": st.just("function"), "function": FUNCTION})
OWN_TOOL = FUNCTION.map(lambda function: {"type": "function", **function})
ROLE = st.sampled_from(["system", "developer", "user", "assistant"])
MESSAGE = st.fixed_dictionaries({"role": ROLE, "content": parts("text")})
ITEM = st.fixed_dictionaries({"role": ROLE, "content": parts("input_text")})
OURS = maybe(user=TEXT, metadata=SCHEMA, store=st.booleans(), safety_identifier=TEXT)
STEERED = maybe(
    temperature=NUMBER, top_p=NUMBER, service_tier=st.sampled_from(["auto", "default"]), stream=st.booleans()
)
PENALTIES = maybe(
    presence_penalty=NUMBER, frequency_penalty=NUMBER, seed=NUMBER, logit_bias=st.dictionaries(NAME, NUMBER, max_size=2)
)
IDS = st.lists(st.integers(0, 200_000), min_size=1, max_size=9)
PROMPTS = TEXT | st.lists(TEXT, min_size=1, max_size=4) | IDS | st.lists(IDS, min_size=1, max_size=3)


def bodies(model: str, **fields: Any) -> Any:
    """Make bodies for a model."""
    return st.fixed_dictionaries({"model": st.just(model), **fields})


BODIES = {
    CHAT: bodies(
        "gpt-4.1-mini",
        messages=st.lists(MESSAGE, min_size=1, max_size=4),
        tools=st.none() | st.lists(CHAT_TOOL, min_size=1, max_size=2),
        response_format=st.none() | st.just({"type": "json_object"}),
        max_tokens=CAP,
        n=COUNT,
        stop=st.none() | TEXT | st.lists(TEXT, max_size=3),
        **STEERED,
        **OURS,
        **PENALTIES,
    ),
    RESPONSES: bodies(
        LUNA,
        input=TEXT | st.lists(ITEM, min_size=1, max_size=4),
        instructions=st.none() | TEXT,
        tools=st.none() | st.lists(OWN_TOOL, min_size=1, max_size=2),
        reasoning=st.none() | st.just({"effort": "high"}),
        max_output_tokens=CAP,
        **STEERED,
        **OURS,
    ),
    COMPLETIONS: bodies(
        "gpt-3.5-turbo-instruct",
        prompt=PROMPTS,
        suffix=st.none() | TEXT,
        max_tokens=CAP,
        n=COUNT,
        best_of=COUNT,
        echo=st.none() | st.booleans(),
        stream=st.none() | st.booleans(),
        **OURS,
        **PENALTIES,
    ),
    EMBEDDINGS: bodies(
        "text-embedding-3-small",
        input=PROMPTS,
        dimensions=st.none() | st.integers(1, 64),
        encoding_format=st.none() | st.sampled_from(["float", "base64"]),
        **OURS,
    ),
}
CAPS = {CHAT: "max_tokens", RESPONSES: "max_output_tokens", COMPLETIONS: "max_tokens"}
DEFAULTS = {CHAT: 4096, RESPONSES: 4096, COMPLETIONS: 16}
SHARE = st.fractions(0, 1, max_denominator=8) | st.just(1)


def least_bytes(value: Any) -> int:
    """Return the bytes of all text and the count of all numbers in what a model reads: as many tokens as it can be."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(least_bytes(name) + least_bytes(item) for name, item in value.items())
    if isinstance(value, list):
        return sum(map(least_bytes, value))
    return 1


def most(path: str, body: dict[str, Any]) -> tuple[int, int]:
    """Return the most input and output tokens that an honest provider can report for a body."""
    read = ("messages", "input", "instructions", "prompt", "suffix", "tools", "response_format")
    seen = least_bytes([body[name] for name in read if body.get(name) is not None])
    price = prices.load().lookup("openai", body["model"])
    if path == EMBEDDINGS:
        return seen, 0
    named = body.get(CAPS[path])
    cap = min(DEFAULTS[path] if named is None else named, price.max_output or 10**9)
    prompts = body.get("prompt")
    several = len(prompts) if isinstance(prompts, list) and not isinstance(prompts[0], int) else 1
    return seen, cap * several * max(body.get("n") or 1, body.get("best_of") or 1)


def report(path: str, body: dict[str, Any], shares: tuple[Any, ...]) -> dict[str, Any]:
    """Write a usage report: any share of the most, any of it from a cache or written to one."""
    input_most, output_most = most(path, body)
    read, written = int(input_most * shares[0]), int(output_most * shares[1])
    cached = int(read * shares[2])
    details = {"cached_tokens": cached, "cache_write_tokens": int((read - cached) * shares[3])}
    if path == EMBEDDINGS:
        return {"prompt_tokens": read, "total_tokens": read}
    first, second = ("input", "output") if path == RESPONSES else ("prompt", "completion")
    return {
        f"{first}_tokens": read,
        f"{second}_tokens": written,
        "total_tokens": read + written,
        f"{first}_tokens_details": details,
    }


@functools.cache
def rich(gateway: Gateway) -> Caller:
    """Give somebody for whom nothing needs to be shortened: the cap that is named is the cap that is sent."""
    return Caller.new(gateway)


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), shares=st.tuples(SHARE, SHARE, SHARE, SHARE))
@example(data=None, shares=(1, 1, 0, 0))
@example(data=None, shares=(1, 1, 0, 1))
def test_whatever_is_reported_within_the_cap_was_held(
    one_gateway: Gateway, one_provider: StandIn, path: str, data: Any, shares: Any
) -> None:
    """No allowed body is a failure of the gateway; its provider's report within cap and text costs at most the hold."""
    body = PLAIN[path] if data is None else data.draw(BODIES[path])
    caller = rich(one_gateway)
    before = query(one_gateway, "SELECT COALESCE(MAX(seq), 0) FROM usage")[0][0]
    one_provider.clear()
    one_provider.script(usage=report(path, body, shares))
    answer = caller.send(path, body)
    assert answer.status_code in {200, 400}, answer.text  # the provider has rules of its own
    assert len(one_provider.requests) == 1, answer.text
    one_provider.clear()
    if answer.status_code == 200:
        rows = _settled(one_gateway, before)
        assert [row["outcome"] for row in rows] == ["ok"], dict(rows[0])
        assert 0 <= rows[0]["cost"] <= rows[0]["held"]
    assert_sound(one_gateway)


def _settled(gateway: Gateway, after: int) -> list[Any]:
    """Return the rows that came after one, when nothing is in flight any more."""
    assert_sound(gateway)
    return query(gateway, f"SELECT * FROM usage WHERE seq > {after}")


PLAIN: dict[str, dict[str, Any]] = {
    CHAT: {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "語" * 400}], "n": 8, "stream": True},
    RESPONSES: {"model": LUNA, "input": "\ufdfa" * 100, "instructions": "x", "max_output_tokens": 16},
    COMPLETIONS: {"model": "gpt-3.5-turbo-instruct", "prompt": ["a"] * 20, "n": 2, "best_of": 8, "max_tokens": 50},
    EMBEDDINGS: {"model": "text-embedding-3-small", "input": [[1, 2, 3]] * 50},
}

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_odd_values_in_known_fields_are_refused_or_served(
    one_gateway: Gateway, one_provider: StandIn, path: str, data: Any
) -> None:
    """Any JSON in a field that is known is a 200 or a refusal in OpenAI's shape, and never a failure."""
    body = data.draw(BODIES[path])
    body[data.draw(st.sampled_from(sorted(body)))] = data.draw(JUNK)
    one_provider.clear()
    answer = rich(one_gateway).send(path, body)
    assert answer.status_code in {200, 400, 403}, (answer.status_code, answer.text)
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert_sound(one_gateway)


# --- what is odd, and allowed -----------------------------------------------------------------------------------------


@pytest.fixture
def payer(shared: Gateway) -> Caller:
    """Give somebody with a dollar for two models."""
    return Caller.new(shared, "course", settings={"limits": {"total": {"amount": "1.00"}}})


def test_thoughts_are_charged_within_the_cap(payer: Caller, standin: StandIn) -> None:
    """Reasoning is output: the cap bounds it, whatever the effort."""
    usage = {"input_tokens": 10, "output_tokens": 64, "total_tokens": 74}
    standin.script(usage={**usage, "output_tokens_details": {"reasoning_tokens": 64}})
    body = {"model": LUNA, "input": "hi", "reasoning": {"effort": "max"}, "max_output_tokens": 64}
    assert payer.send(RESPONSES, body).status_code == 200
    (row,) = payer.rows()
    assert (row["cost"], row["reasoning_tokens"]) == (_cost(usage), 64)
    assert row["cost"] <= row["held"]


def test_own_tools_are_bounded_however_many(payer: Caller, standin: StandIn) -> None:
    """Schemas are counted as input, and parallel calls as output of one cap."""
    tools = [{"type": "function", "name": f"f{n}", "parameters": {"description": "word " * 500}} for n in range(200)]
    body = {"model": LUNA, "input": "hi", "tools": tools, "parallel_tool_calls": True, "max_output_tokens": 64}
    assert payer.send(RESPONSES, body).status_code == 200
    (row,) = payer.rows()
    assert row["held"] >= prices.worst(prices.load().lookup("openai", LUNA), 200 * 2500, 64)


def test_keeping_the_cache_longer_has_no_price(payer: Caller, standin: StandIn) -> None:
    """``prompt_cache_retention`` is passed on."""
    assert payer.chat(LUNA, prompt_cache_retention="24h").status_code == 200
    assert standin.last.json["prompt_cache_retention"] == "24h"


def test_a_megabyte_of_instructions_is_paid_for(shared: Gateway, standin: StandIn) -> None:
    """It is input like any other, and refused to whom it is too dear."""
    poor = Caller.new(shared, "course", settings={"limits": {"total": {"amount": "0.05"}}})
    body = {"model": LUNA, "input": "hi", "instructions": "word " * 200_000}
    assert code_of(poor.send(RESPONSES, body)) == (402, "budget_exceeded")
    assert standin.requests == []


def test_a_megabyte_of_metadata_goes_nowhere(payer: Caller, standin: StandIn) -> None:
    """What Keyguard drops is not sent, whatever its size, and not charged."""
    big = "x" * 1_000_000
    assert payer.chat(LUNA, user=big, metadata={"a": big}, safety_identifier=big).status_code == 200
    assert len(standin.last.body) < 1000
    assert standin.last.json["messages"] == HELLO


def _cost(usage: dict[str, Any]) -> int:
    return prices.cost(prices.load().lookup("openai", LUNA), from_responses(usage))
