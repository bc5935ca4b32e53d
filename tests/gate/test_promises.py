"""What Keyguard promises about money, keys and the real key, held by real processes under load, faults and kill -9."""

import asyncio
import contextlib
import json
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from keyguard_jupyter.client import Client
from keyguard_jupyter.core import prices
from keyguard_jupyter.core.bounds import input_tokens
from keyguard_jupyter.core.usage import from_chat
from keyguard_jupyter.demo.provider import Provider
from keyguard_jupyter.errors import GatewayError
from keyguard_jupyter.money import usd
from tests.support.gateway import REAL_KEY, Gateway

MODEL = "gpt-4.1-mini"
PRICE = prices.load().lookup("openai", MODEL)
ASK = [{"role": "user", "content": "one two three four five"}]
"""The stand-in counts 12 tokens: five words, and seven for the message and the call."""
LONG = "word " * 399 + "word"
"""400 tokens."""
COST = prices.cost(PRICE, from_chat({"prompt_tokens": 12, "completion_tokens": 400, "total_tokens": 412}))


def course(limit: int, **more: Any) -> dict[str, Any]:
    """Return a policy under which ada may spend so many nano-dollars on one model, and on nothing else."""
    ada = {"limits": {"total": {"amount": usd(limit)}}}
    return {
        "projects": {
            "default": {"default": "deny", "models": {MODEL: {"access": "allow"}}, "people": {"ada": ada}, **more}
        }
    }


@contextlib.asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Run a further gateway process."""
    gateway.folder.mkdir(exist_ok=True)
    try:
        await asyncio.to_thread(gateway.__enter__)
        yield gateway
    finally:
        await asyncio.to_thread(gateway.stop)


def sdk(gateway: Gateway, key: str) -> openai.AsyncOpenAI:
    """Make a client that tries once."""
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)


async def put(gateway: Gateway, policy: dict[str, Any]) -> None:
    """Make this the policy."""
    await asyncio.to_thread(gateway.apply, policy)


async def issue(gateway: Gateway, person: str = "ada") -> str:
    """Issue a key."""
    return await asyncio.to_thread(gateway.issue, person)


def query(gateway: Gateway, statement: str) -> list[sqlite3.Row]:
    """Read the ledger's file."""
    with contextlib.closing(sqlite3.connect(gateway.database, timeout=10)) as db:
        db.row_factory = sqlite3.Row
        return db.execute(statement).fetchall()


def usage(gateway: Gateway) -> list[sqlite3.Row]:
    """Return the calls that were charged, oldest first."""
    return query(gateway, "SELECT * FROM usage ORDER BY seq")


def held(gateway: Gateway) -> int:
    """Return what counters and holds still hold."""
    counters = query(gateway, "SELECT COALESCE(SUM(held), 0) FROM counters")[0][0]
    return int(counters) + int(query(gateway, "SELECT COUNT(*) FROM holds")[0][0])


def spent(gateway: Gateway, person: str = "ada") -> int:
    """Return what the counter of a person's total has counted."""
    rows = query(gateway, "SELECT spent FROM counters WHERE id LIKE '%|person|" + person + "|usd|*|%'")
    return int(rows[0]["spent"])


async def eventually(reached: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    """Watch another process's state, which nothing announces, until it is as expected."""
    async with asyncio.timeout(seconds):
        while True:
            found = reached()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


async def settled(gateway: Gateway, calls: int) -> list[sqlite3.Row]:
    """Return the usage when so many calls are settled, and nothing is held any more."""
    await eventually(lambda: len(usage(gateway)) >= calls and held(gateway) == 0)
    rows = usage(gateway)
    assert len(rows) == calls
    return rows


async def in_flight(gateway: Gateway) -> int:
    """Return how many calls the process is answering, by its own count."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/metrics") as answer:
        page = await answer.text()
    line = next(line for line in page.splitlines() if line.startswith("keyguard_calls_in_flight "))
    return int(float(line.split()[1]))


async def outcome_of(call: Awaitable[Any]) -> tuple[int, str | None]:
    """Return the status and the code with which a call ended."""
    try:
        await call
    except openai.APIStatusError as error:
        return error.status_code, error.code
    return 200, None


async def crowd(calls: list[Callable[[], Awaitable[Any]]], at_once: int = 50) -> Counter[tuple[int, str | None]]:
    """Make all calls, so many in parallel, and count how they ended."""
    room = asyncio.Semaphore(at_once)

    async def one(call: Callable[[], Awaitable[Any]]) -> tuple[int, str | None]:
        async with room:
            return await outcome_of(call())

    return Counter(await asyncio.gather(*(one(call) for call in calls)))


def worst_of(body: dict[str, Any]) -> int:
    """Return the most that a request, as the provider received it, can cost."""
    cap = body.get("max_completion_tokens", body.get("max_tokens"))
    return prices.worst(PRICE, input_tokens(body), cap)


def cost_of(report: dict[str, Any]) -> int:
    """Return what a usage report comes to."""
    return prices.cost(PRICE, from_chat(report))


# --- limits ---------------------------------------------------------------------------------------------------------


async def test_a_limit_that_fits_ten_serves_ten_of_two_hundred(provider: Provider, gateway: Gateway) -> None:
    """With caps named and true costs that equal the worst case, ten of 200 parallel calls are served, to the cent."""
    bound = input_tokens({"messages": ASK})
    report = {"prompt_tokens": bound, "completion_tokens": 400, "total_tokens": bound + 400}
    provider.script(text=LONG, usage=report, times=None)
    limit = 10 * cost_of(report)
    await put(gateway, course(limit))
    async with sdk(gateway, await issue(gateway)) as client:
        call = lambda: client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400)  # noqa: E731
        ends = await crowd([call] * 200)
    assert ends == {(200, None): 10, (402, "budget_exceeded"): 190}
    rows = await settled(gateway, 10)
    assert {(row["cost"], row["outcome"]) for row in rows} == {(cost_of(report), "ok")}
    assert spent(gateway) == limit
    assert len(provider.requests) == 10


@pytest.mark.parametrize("named", [{"max_tokens": 400}, {}], ids=["named", "unnamed"])
async def test_a_worst_case_above_the_true_cost_locks_nobody_out(
    provider: Provider, gateway: Gateway, named: dict[str, Any]
) -> None:
    """A limit of ten true costs serves ten although worst cases are larger: the last is shortened, none overshoots."""
    provider.script(text=LONG, times=None)
    limit = 10 * COST
    await put(gateway, course(limit))
    async with sdk(gateway, await issue(gateway)) as client:
        call = lambda: client.chat.completions.create(model=MODEL, messages=ASK, **named)  # noqa: E731
        ends = await crowd([call] * 200)
    assert ends == {(200, None): 10, (402, "budget_exceeded"): 190}
    costs = [row["cost"] for row in await settled(gateway, 10)]
    assert costs[:9] == [COST] * 9
    assert 0 < costs[9] < COST
    assert spent(gateway) == sum(costs) <= limit
    assert provider.requests[-1].json.get("max_tokens", provider.requests[-1].json.get("max_completion_tokens")) < 400


async def test_two_processes_share_one_limit(provider: Provider, gateway: Gateway, tmp_path: Path) -> None:
    """A hundred calls over two processes on one file spend no more than the limit, and all of it that can be used."""
    provider.script(text=LONG, times=None)
    await put(gateway, course(10 * COST))
    other = Gateway(tmp_path / "other", provider.url, policy=None, database=gateway.database)
    async with running(other):
        key = await issue(gateway)
        async with sdk(gateway, key) as one, sdk(other, key) as two:
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda client=client: client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400)
                for client in (one, two)
            ]
            ends = await crowd(calls * 50)
        served = ends[200, None]
        rows = await settled(gateway, served)
    assert ends == {(200, None): 10, (402, "budget_exceeded"): 90}
    assert spent(gateway) == sum(row["cost"] for row in rows) <= 10 * COST
    assert len(provider.requests) == served


async def test_who_leaves_while_waiting_for_money_pays_nothing(provider: Provider, gateway: Gateway) -> None:
    """A caller that hangs up while others hold the money leaves no hold and no charge, and nothing is sent for it."""
    await put(gateway, course(worst_of({"messages": ASK, "max_tokens": 400})))
    provider.hold()
    async with sdk(gateway, await issue(gateway)) as client:
        call = lambda: client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400)  # noqa: E731
        first = asyncio.create_task(call())
        await provider.until(held=1)
        second = asyncio.create_task(call())

        async def answering(count: int) -> bool:
            return await in_flight(gateway) == count

        await eventually(lambda: answering(2))
        second.cancel()
        await eventually(lambda: answering(1))
        provider.release()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
    assert len(await settled(gateway, 1)) == 1
    assert len(provider.requests) == 1


# --- streams --------------------------------------------------------------------------------------------------------


async def test_dropped_streams_are_charged_exactly(provider: Provider, gateway: Gateway) -> None:
    """Ten streams read to the end and twenty dropped after five chunks: each costs what the provider reported."""
    provider.script(text=LONG, times=None)
    provider.hold(after=8)  # nobody drops a stream that is already whole in some buffer

    async def read(client: openai.AsyncOpenAI, chunks: int | None) -> None:
        stream = await client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400, stream=True)
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == chunks:
                await stream.close()
                return
        assert chunks is None
        assert seen == 402

    async with sdk(gateway, await issue(gateway)) as client:
        whole = [asyncio.create_task(read(client, None)) for _ in range(10)]
        await asyncio.gather(*(read(client, 5) for _ in range(20)))
        await provider.until(held=30)
        provider.release()
        await asyncio.gather(*whole)
        await provider.until(finished=30, open=0)
    assert provider.counts["gone"] == 0
    rows = await settled(gateway, 30)
    assert [row["cost"] for row in rows] == [COST] * 30
    assert Counter(row["outcome"] for row in rows)["ok"] >= 10
    assert {row["outcome"] for row in rows} <= {"ok", "client_gone"}
    assert spent(gateway) == 30 * COST


async def test_the_balance_is_right_as_soon_as_the_end_is_seen(provider: Provider, gateway: Gateway) -> None:
    """A caller that sees [DONE] and hangs up finds its call settled, although the provider has not closed its side."""
    provider.script(text="six words are in this answer", hold=1000, times=None)
    key = await issue(gateway)
    body = {"model": MODEL, "messages": ASK, "max_tokens": 50, "stream": True}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        for number in range(1, 11):
            answer = await session.post(f"{gateway.url}/v1/chat/completions", json=body)
            async for line in answer.content:
                if line.strip() == b"data: [DONE]":
                    break
            answer.close()
            # The next request, often on the same connection, does not wait for the provider's end either.
            async with asyncio.timeout(1), session.get(f"{gateway.url}/api/me/usage") as page:
                rows = (await page.json())["rows"]
            assert len(rows) == number
            assert (rows[-1]["input_tokens"], rows[-1]["output_tokens"], rows[-1]["outcome"]) == (12, 6, "ok")
    assert held(gateway) == 0
    provider.release()


# --- crashes and locks ----------------------------------------------------------------------------------------------


async def test_kill_minus_nine_charges_what_was_sent_and_holds_nothing(provider: Provider, gateway: Gateway) -> None:
    """Fifty calls in flight at kill -9 are charged in full at the restart, which takes less than five seconds."""
    await put(gateway, course(10**9))
    key = await issue(gateway)
    provider.hold()
    async with sdk(gateway, key) as client:
        call = lambda: client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400)  # noqa: E731
        calls = [asyncio.create_task(call()) for _ in range(50)]
        await provider.until(held=50)
        await asyncio.to_thread(gateway.kill)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {openai.APIConnectionError}
        port, began = gateway.port, time.monotonic()
        await asyncio.to_thread(gateway.start)
        assert time.monotonic() - began < 5
        assert gateway.port == port
        rows = usage(gateway)
        assert held(gateway) == 0
        assert [row["outcome"] for row in rows] == ["expired"] * 50
        assert Counter(row["cost"] for row in rows) == Counter(worst_of(call.json) for call in provider.requests)
        assert spent(gateway) == sum(row["cost"] for row in rows)
        provider.release()
        provider.forget()
        assert await outcome_of(call()) == (200, None)  # the same key, at the same address
    assert len(await settled(gateway, 51)) == 51


async def test_a_locked_ledger_refuses_and_sends_nothing(provider: Provider, gateway: Gateway) -> None:
    """While another process keeps the database locked, calls end with 503 and reach no provider; later all is well."""
    async with sdk(gateway, await issue(gateway)) as client:
        call = lambda: client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400)  # noqa: E731
        with contextlib.closing(sqlite3.connect(gateway.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            ends = await crowd([call] * 5)
            other.execute("ROLLBACK")
        assert ends == {(503, "ledger_unavailable"): 5}
        assert provider.counts["received"] == 0
        assert await outcome_of(call()) == (200, None)
    assert len(await settled(gateway, 1)) == 1


async def test_policy_and_keys_change_in_all_processes_at_once(
    provider: Provider, gateway: Gateway, tmp_path: Path
) -> None:
    """What one process is told is in force in the other for the very next call."""
    other = Gateway(tmp_path / "other", provider.url, policy=None, database=gateway.database)
    async with running(other):
        key = await issue(gateway)
        async with sdk(other, key) as client:
            call = lambda: client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=40)  # noqa: E731
            assert await outcome_of(call()) == (200, None)
            for _ in range(5):
                await put(gateway, course(10**9, models={MODEL: {"access": "deny"}}))
                assert await outcome_of(call()) == (403, "model_not_allowed")
                await put(gateway, course(10**9))
                assert await outcome_of(call()) == (200, None)
            keys = await asyncio.to_thread(gateway.admin.get, "/api/keys")
            await asyncio.to_thread(gateway.admin.delete, f"/api/keys/{keys['keys'][0]['id']}")
            assert await outcome_of(call()) == (401, "key_revoked")
    assert provider.counts["received"] == 6


# --- what providers do ----------------------------------------------------------------------------------------------

HUGE = {"prompt_tokens": 1_000_000, "completion_tokens": 5_000_000, "total_tokens": 6_000_000}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_odd_usage_reports_are_charged_in_full_or_truthfully(
    provider: Provider, gateway: Gateway, stream: bool
) -> None:
    """No usage, or an impossible one, costs the whole hold; a huge one costs what it says; the outcome says which."""
    wrong = {"prompt_tokens": 12, "completion_tokens": -400, "total_tokens": -388}
    parts = {**HUGE, "prompt_tokens_details": {"cached_tokens": 2_000_000}}
    endless = {"prompt_tokens": 12, "completion_tokens": 10**30, "total_tokens": 10**30 + 12}
    text = {"prompt_tokens": "12", "completion_tokens": 4, "total_tokens": 16}
    reports: list[Any] = [False, wrong, parts, endless, text, HUGE]
    async with sdk(gateway, await issue(gateway)) as client:
        for report in reports:
            provider.script(text="four words and no more", usage=report)
            answer = await client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400, stream=stream)
            if stream:
                async for _ in answer:
                    pass
    full = worst_of({"messages": ASK, "max_tokens": 400})
    rows = await settled(gateway, len(reports))
    assert [(row["outcome"], row["cost"]) for row in rows] == [
        ("no_usage", full),
        *[("invalid_usage", full)] * 4,
        ("overrun", cost_of(HUGE)),
    ]


async def test_a_provider_that_cannot_be_reached_costs_nothing(tmp_path: Path) -> None:
    """A refused connection is a 502, and leaves neither a hold nor a charge."""
    with socket.socket() as taken:  # bound, and never listening: connections to it are refused
        taken.bind(("127.0.0.1", 0))
        gateway = Gateway(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        async with running(gateway), sdk(gateway, await issue(gateway)) as client:
            for stream in (False, True):
                call = client.chat.completions.create(model=MODEL, messages=ASK, stream=stream)
                assert await outcome_of(call) == (502, "provider_error")
            assert usage(gateway) == []
            assert held(gateway) == 0
            assert spent(gateway) == 0


async def test_a_call_that_breaks_off_is_charged_in_full(provider: Provider, gateway: Gateway) -> None:
    """After a reset nobody knows what the provider bills: the hold is charged, and the caller is told."""
    async with sdk(gateway, await issue(gateway)) as client:
        provider.script(drop=5, reset=True)
        stream = await client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in stream:
                pass
        provider.script(drop="headers", reset=True)
        call = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400)
        assert await outcome_of(call) == (502, "provider_error")
    full = worst_of({"messages": ASK, "max_tokens": 400})
    rows = await settled(gateway, 2)
    assert [(row["outcome"], row["cost"]) for row in rows] == [("interrupted", full)] * 2
    assert provider.counts["received"] == 2


async def test_a_provider_that_is_too_busy_costs_nothing(provider: Provider, gateway: Gateway) -> None:
    """The provider's 429 reaches the caller with its Retry-After, without words about the account, for free."""
    provider.script(status=429, headers={"Retry-After": "7"}, body={"error": {"message": "org-123 limit"}})
    async with sdk(gateway, await issue(gateway)) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=400)
    assert refused.value.response.headers["retry-after"] == "7"
    assert refused.value.code == "rate_limit_exceeded"
    assert "org-123" not in refused.value.response.text
    assert [(row["outcome"], row["cost"]) for row in await settled(gateway, 1)] == [("provider_429", 0)]


# --- the real key ---------------------------------------------------------------------------------------------------

ECHOES: list[dict[str, Any]] = [
    {},
    {"status": 401, "body": {"error": {"message": "Incorrect API key provided: {key}", "code": "invalid_api_key"}}},
    {"status": 400, "body": {"error": {"message": "{key} is odd", "code": "{key}", "param": "{key}"}}},
    {"status": 429, "body": {"error": {"message": "{key}"}}, "headers": {"x-key": "{key}"}},
    {"status": 400, "body": '{"error": {"message": "' + "".join(f"\\u{ord(sign):04x}" for sign in REAL_KEY) + '"}}'},
    {"status": 500, "body": "<html>{key}</html>"},
    {"status": 503, "body": "<html>{key}</html>"},
    {"text": "your key is {key}", "whole": True, "headers": {"x-key": "{key}"}},
    {"text": "your key is {key}", "whole": True, "split": 7},
    {"error": "the key {key} has run out", "error_after": 2},
    {"text": "{key}", "answers_as": REAL_KEY, "whole": True},
    {"drop": 3, "reset": True},
]


async def test_the_real_key_appears_nowhere(provider: Provider, gateway: Gateway) -> None:
    """Whatever the provider repeats, the real key is in no answer, log line, file, metric or report."""
    key = await issue(gateway)
    seen: list[bytes] = []

    async def ask(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> int:
        async with session.request(method, gateway.url + path, json=body) as answer:
            seen.extend(name + b": " + value for name, value in answer.raw_headers)
            seen.append(await answer.read())
            return answer.status

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        for stream in (False, True):
            for echo in ECHOES:
                provider.script(**echo)
                body = {"model": MODEL, "messages": ASK, "max_tokens": 400, "stream": stream}
                status = await ask(session, "POST", "/v1/chat/completions", body)
                assert status == 502 if echo.get("status") == 401 else status in {200, 400, 429, 502}, echo
                provider.forget()
        for path in ("/v1/models", "/api/me", "/api/me/usage", f"/api/explain?model={MODEL}", "/metrics", "/health"):
            assert await ask(session, "GET", path) == 200
        await ask(session, "POST", "/v1/audio/speech", {})
    admin = {"Authorization": f"Bearer {gateway.admin_key}"}
    async with aiohttp.ClientSession(headers=admin) as session:
        for path in ("/api/usage", "/api/usage?group_by=person,model", "/api/keys", "/api/policy"):
            assert await ask(session, "GET", path) == 200
    calls = [call for call in provider.requests if call.body]
    assert {call.key for call in calls} == {REAL_KEY}
    assert len(calls) == 2 * len(ECHOES)
    canary = REAL_KEY.encode()
    assert not [part for part in seen if canary in part]
    await asyncio.to_thread(gateway.stop)
    files = [path for path in gateway.folder.rglob("*") if path.is_file()]
    assert gateway.log in files
    assert gateway.database in files
    assert not [path for path in files if canary in path.read_bytes()]
    assert key.encode() not in gateway.log.read_bytes()
    assert json.dumps(ASK)[20:40].encode() not in gateway.log.read_bytes()


async def test_only_the_host_reads_other_peoples_figures(gateway: Gateway) -> None:
    """A caller's key opens no route of the host's."""
    client = Client(gateway.url, await issue(gateway))
    for path in ("/api/usage", "/api/keys", "/api/policy"):
        with pytest.raises(GatewayError) as refused:
            await asyncio.to_thread(client.get, path)
        assert (refused.value.status, refused.value.code) == (403, "forbidden")
