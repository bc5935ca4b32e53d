"""What an answer says about its cost, and what is charged when it says nothing of use."""

import json
from typing import Any

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.people import Caller
from keyguard_jupyter.core.providers import read_providers
from keyguard_jupyter.gate.endpoints import ENDPOINTS
from keyguard_jupyter.gate.meter import Meter
from keyguard_jupyter.gate.priced import Priced
from keyguard_jupyter.ledger.calls import Call
from keyguard_jupyter.money import LARGEST

ROUTES = {endpoint.name: endpoint for endpoint in ENDPOINTS}
TABLE = prices.load({"campus/qwen": {"free": True}})
OPENAI = read_providers({"openai": "env:X"})["openai"]
CAMPUS = read_providers({"campus": {"base_url": "http://h/v1", "models": ["qwen"]}})["campus"]
HELD = 10**9
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
COST = 1000 * 400 + 100 * 1600  # gpt-4.1-mini: $0.40 and $1.60 per 1M
WHO = Caller("default", "ada", (), "k", "abcde", "personal")


def meter(route: str = "chat", model: str = "gpt-4.1-mini", *, free: bool = False) -> Meter:
    """Make the meter of a call for which a dollar is held."""
    priced = Priced.find(TABLE, CAMPUS, "qwen") if free else Priced.find(TABLE, OPENAI, model)
    known = {"id": "x", "at": 0, "endpoint": route, "provider": "p", "model": model, "stream": False}
    return Meter(ROUTES[route], priced, Call.of(WHO, **known, price_version="v", held=HELD))


def frame(data: Any) -> bytes:
    """Write an event of a stream."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def chunk(text: str | None = None, finish: str | None = None, **fields: Any) -> bytes:
    """Write a chunk of a chat."""
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    return frame({"model": "gpt-4.1-mini", "choices": choices, **fields})


DONE = frame(b"[DONE]")


def read(found: Meter, *frames: bytes) -> tuple[int, str]:
    """Read a stream to its end, and return cost and outcome."""
    for one in frames:
        found.read_frame(one)
    end = found.settlement(5)
    return end.cost, end.outcome


STREAMS: list[tuple[str, list[bytes], tuple[int, str]]] = [
    ("usual", [chunk("a"), chunk("", "stop"), chunk(usage=USAGE), DONE], (COST, "ok")),
    ("nulls before", [chunk("a", usage=None), chunk("b", usage=None), chunk(usage=USAGE), DONE], (COST, "ok")),
    ("in the last choice, no end mark", [chunk("a"), chunk("", "stop", usage=USAGE)], (COST, "ok")),
    (
        "in every chunk",
        [chunk("a", usage={**USAGE, "total_tokens": 1100}), chunk("b", usage=USAGE), DONE],
        (COST, "ok"),
    ),
    ("in every chunk, cut off", [chunk("a", usage=USAGE), chunk("b", usage=USAGE)], (HELD, "no_usage")),
    ("null only", [chunk("a"), chunk("", "stop", usage=None), DONE], (HELD, "no_usage")),
    ("none", [chunk("a"), chunk("", "stop")], (HELD, "no_usage")),
    ("end mark only", [DONE], (HELD, "no_usage")),
    ("nothing", [], (HELD, "no_usage")),
    ("negative", [chunk(usage={**USAGE, "completion_tokens": -1}), DONE], (HELD, "invalid_usage")),
    ("a text", [chunk(usage="a lot"), DONE], (HELD, "invalid_usage")),
    ("empty", [chunk(usage={}), DONE], (HELD, "invalid_usage")),
    ("a list", [chunk(usage=[1, 2]), DONE], (HELD, "invalid_usage")),
    ("true", [chunk(usage={**USAGE, "completion_tokens": True}), DONE], (HELD, "invalid_usage")),
    ("first good, then bad", [chunk(usage=USAGE), chunk(usage="x"), DONE], (HELD, "invalid_usage")),
    (
        "said by the model",
        [chunk('data: {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}\n\n'), chunk(usage=USAGE), DONE],
        (COST, "ok"),
    ),
    ("said by the model only", [chunk('"usage": {"prompt_tokens": 0}'), DONE], (HELD, "no_usage")),
    (
        "in the wrong place",
        [chunk("a", x={"usage": {"prompt_tokens": 0, "completion_tokens": 0}}), DONE],
        (HELD, "no_usage"),
    ),
    ("after spaces", [chunk("a"), chunk(usage=USAGE).replace(b'"usage": ', b'"usage" :   '), DONE], (COST, "ok")),
    ("comments between", [b": ping\n\n", chunk("a"), b": ping\n\n", chunk(usage=USAGE), DONE], (COST, "ok")),
]


@pytest.mark.parametrize(("frames", "end"), [case[1:] for case in STREAMS], ids=[case[0] for case in STREAMS])
def test_a_stream_costs_what_it_says_at_its_end(frames: list[bytes], end: tuple[int, str]) -> None:
    """The last word of the provider counts, in the place where it belongs; without one, all that is held is charged."""
    assert read(meter(), *frames) == end


def test_the_end_and_the_chunk_of_usage_are_recognised() -> None:
    """The end mark is the last frame; a chunk without choices that has usage carries nothing else."""
    found = meter()
    assert found.read_frame(chunk("a")) == (False, False)
    assert found.read_frame(chunk()) == (False, False)  # some providers begin with an empty one
    assert not found.knows
    assert found.read_frame(chunk(usage=USAGE)) == (False, True)
    assert found.knows
    assert found.read_frame(b"data:[DONE]\n\n") == (True, False)
    assert meter().read_frame(chunk("", "stop", usage=USAGE)) == (False, False)


def test_a_response_tells_its_usage_in_its_last_event() -> None:
    """Only the events that end a response have its usage; an earlier one is not believed."""
    usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    none = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    for last in ("response.completed", "response.incomplete", "response.failed"):
        found = meter("responses")
        assert found.read_frame(frame({"type": "response.created", "response": {"model": "m", "usage": none}})) == (
            False,
            False,
        )
        assert found.read_frame(frame({"type": "response.output_text.delta", "delta": '"usage": {}'})) == (False, False)
        assert not found.knows
        assert found.read_frame(frame({"type": last, "response": {"model": "gpt-4.1-mini", "usage": usage}})) == (
            True,
            False,
        )
        assert read(found) == (COST, "ok")
    found = meter("responses")
    found.read_frame(frame({"type": "response.in_progress", "response": {"usage": none}}))
    assert read(found, frame({"type": "response.failed", "response": {"usage": None}})) == (HELD, "no_usage")


def test_a_whole_answer_costs_what_it_says() -> None:
    """Model, tier and usage are kept; without usage the hold is charged."""
    found = meter()
    found.read_answer({"model": "gpt-4.1-mini-2025-04-14", "service_tier": "default", "usage": USAGE})
    end = found.settlement(7)
    assert (end.cost, end.outcome, end.model_answered, end.tier) == (COST, "ok", "gpt-4.1-mini-2025-04-14", "default")
    assert (end.usage.input_total, end.usage.output_total, end.duration_ms) == (1000, 100, 7)
    assert read(meter()) == (HELD, "no_usage")


def test_what_broke_off_costs_the_hold_unless_all_was_said() -> None:
    """After a break a final report still counts; a running count does not."""
    found = meter()
    found.read_frame(chunk("a", usage=USAGE))
    assert (found.settlement(0, "interrupted").cost, found.settlement(0, "interrupted").outcome) == (
        HELD,
        "interrupted",
    )
    found.read_frame(chunk(usage=USAGE))
    assert (found.settlement(0, "interrupted").cost, found.settlement(0, "interrupted").outcome) == (
        COST,
        "interrupted",
    )


def test_a_caller_that_left_is_charged_alike() -> None:
    """Whether somebody still reads has no influence on the cost; charged in full is called so."""
    found = meter()
    assert (found.settlement(0, "client_gone").cost, found.settlement(0, "client_gone").outcome) == (HELD, "no_usage")
    found.read_frame(chunk(usage=USAGE))
    assert (found.settlement(0, "client_gone").cost, found.settlement(0, "client_gone").outcome) == (
        COST,
        "client_gone",
    )


def test_more_than_was_held_is_recorded_truthfully() -> None:
    """A report above the hold is charged as it stands, and marked; what cannot be counted is cut at what can."""
    found = meter(model="o1-pro", route="responses")
    found.read_answer({"usage": {"input_tokens": 10**6, "output_tokens": 10**6, "total_tokens": 2 * 10**6}})
    end = found.settlement(0)
    assert (end.outcome, end.cost) == ("overrun", 750 * 10**9)
    found = meter()
    found.read_answer({"usage": {"prompt_tokens": 10**9, "completion_tokens": 10**9, "total_tokens": 2 * 10**9}})
    assert found.settlement(0).cost <= LARGEST


@pytest.mark.parametrize("tier", ["priority", "fast", "ultrafast", "some-new-tier"])
def test_a_dearer_tier_is_charged_as_reported(tier: str) -> None:
    """The tier that answered counts, and one that is unknown counts as the dearest; auto and none are the usual one."""
    usual, dear = meter(model="gpt-6-astra"), meter(model="gpt-6-astra")
    usual.read_answer({"usage": USAGE, "service_tier": "auto"})
    dear.read_answer({"usage": USAGE, "service_tier": tier})
    plain = meter(model="gpt-6-astra")
    plain.read_answer({"usage": USAGE})
    assert usual.settlement(0).cost == plain.settlement(0).cost < dear.settlement(0).cost


def test_the_dearer_of_two_models_is_charged() -> None:
    """If another model answers than was asked, the dearer price counts; an unknown name changes nothing."""
    for asked, answered, counts in (
        ("gpt-6-luna", "gpt-6-astra", "gpt-6-astra"),
        ("gpt-6-astra", "gpt-6-luna", "gpt-6-astra"),
        ("gpt-6-luna", "never-heard-of", "gpt-6-luna"),
        ("gpt-6-luna", "", "gpt-6-luna"),
    ):
        found, plain = meter(model=asked), meter(model=counts)
        found.read_answer({"usage": USAGE, "model": answered})
        plain.read_answer({"usage": USAGE})
        assert found.settlement(0).cost == plain.settlement(0).cost


def test_what_is_free_costs_nothing_and_is_counted() -> None:
    """A free model's tokens are recorded; that it reports none, or nonsense, costs nothing either."""
    found = meter(free=True)
    found.read_answer({"usage": USAGE})
    end = found.settlement(0)
    assert (end.cost, end.outcome, end.usage.total) == (0, "ok", 1100)
    assert meter(free=True).settlement(0).cost == 0
    found = meter(free=True)
    found.read_answer({"usage": "x"})
    assert found.settlement(0).cost == 0


@pytest.mark.parametrize("name", ["\ud800", "x" * 300, "a\nb", "", 5, ["x"], None])
def test_names_that_cannot_be_kept_are_left_out(name: object) -> None:
    """A provider's odd idea of a model's name, or a tier's, does not reach the ledger."""
    found = meter()
    found.read_answer({"model": name, "service_tier": name, "usage": USAGE})
    end = found.settlement(0)
    assert (end.model_answered, end.tier, end.cost) == (None, None, COST)
