"""How the bytes of an answer go out, and where a script interferes: worked out before the first is sent."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .said import Answer, Frame
from .script import Place, Script

HEADERS = {
    "openai-organization": "stand-in-organization",
    "openai-project": "proj_standin",
    "openai-processing-ms": "7",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "set-cookie": "__cf_bm=stand-in; path=/; HttpOnly",
}
"""What the real provider sends with every answer, about the account among other things."""

BEFORE_HEADERS = -1


class Write(NamedTuple):
    """One write to the socket.

    Args:
        paced: how many tokens stand in it, for the pace.
        block: its bytes.
    """

    paced: int
    block: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything there is to send.

    Args:
        writes: in order.
        headers: of the answer.
        hold: before which write to wait for release; -1 is before the headers, and None is nowhere.
        stall: before which to fall silent.
        drop: before which to close the connection.
    """

    writes: list[Write]
    headers: dict[str, str]
    hold: int | None
    stall: int | None
    drop: int | None


def draw_up(answer: Answer, script: Script, barred: Place | None) -> Plan:
    """Plan an answer.

    Args:
        answer: what to say.
        script: what a test wants of it.
        barred: where calls without a place of their own are held.
    """
    places = (script.hold if script.hold is not None else barred, script.stall, script.drop)
    usage = 0
    if answer.frames is None:
        payload = gzip.compress(answer.payload) if script.gzip else answer.payload
        writes = _cut(payload, next((place for place in places if isinstance(place, int)), None))
    elif "usage" in places:
        start = next((index for index, frame in enumerate(answer.frames) if frame.kind == "usage"), len(answer.frames))
        writes = list(_pack(answer.frames[:start], script, script.before, ""))
        usage = len(writes)
        writes += _pack(answer.frames[start:], script, "", script.after)
    else:
        writes = list(_pack(answer.frames, script, script.before, script.after))
    headers = _head(answer, script, writes)
    if script.gzip and answer.frames is not None:
        writes = list(_compress(writes))
    hold, stall, drop = (_locate(place, answer.frames is None, usage, len(writes)) for place in places)
    return Plan(writes, headers, hold, stall, drop)


def _head(answer: Answer, script: Script, writes: list[Write]) -> dict[str, str]:
    headers = {**HEADERS, "Content-Type": answer.media}
    if answer.frames is None:
        headers["Content-Length"] = str(sum(len(write.block) for write in writes))
    else:
        headers["Content-Type"] = "text/event-stream; charset=utf-8"
    if script.gzip:
        headers["Content-Encoding"] = "gzip"
    for name, value in script.headers.items():
        headers = {key: kept for key, kept in headers.items() if key.lower() != name.lower()}
        headers[name] = value
    return headers


def _locate(place: Place | None, plain: bool, usage: int, writes: int) -> int | None:
    """Turn a place into the index of a write.

    A plain answer that a place divides is two writes; undivided, the only place in it is before its headers.
    """
    if place is None:
        return None
    if place == "headers" or (plain and (place == "usage" or writes == 1)):
        return BEFORE_HEADERS
    if plain:
        return 1
    return usage if place == "usage" else min(place, writes)


def _cut(payload: bytes, place: int | None) -> list[Write]:
    if place is None:
        return [Write(0, payload)]
    return [Write(0, payload[:place]), Write(0, payload[place:])]


def _pack(frames: list[Frame], script: Script, before: str, after: str) -> Iterator[Write]:
    writes = [Write(int(frame.kind == "token"), _encode(frame, script.newline)) for frame in frames]
    if before:
        writes.insert(0, Write(0, before.encode()))
    if after:
        writes.append(Write(0, after.encode()))
    if script.split:
        whole = b"".join(write.block for write in writes)
        for start in range(0, len(whole), script.split):
            yield Write(0, whole[start : start + script.split])
    elif script.together > 1:
        for start in range(0, len(writes), script.together):
            group = writes[start : start + script.together]
            yield Write(sum(write.paced for write in group), b"".join(write.block for write in group))
    else:
        yield from writes


def _encode(frame: Frame, newline: str) -> bytes:
    name = "" if frame.event is None else f"event: {frame.event}{newline}"
    return f"{name}data: {frame.data}{newline}{newline}".encode("utf-8", "replace")


def _compress(writes: list[Write]) -> Iterator[Write]:
    packer = zlib.compressobj(wbits=31)
    for write in writes:
        yield Write(write.paced, packer.compress(write.block) + packer.flush(zlib.Z_SYNC_FLUSH))
    yield Write(0, packer.flush())
