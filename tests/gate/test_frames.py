"""Cutting a stream into frames, wherever its bytes are cut on the way."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.gate.frames import FRAME_BYTES_MOST, Frames, data_of, parse_data

EVENTS = [
    b'data: {"a": 1}',
    b": a comment",
    b'event: x\ndata: {"b": "\xc3\xa9"}',
    b"data: one\ndata: two",
    b"data: [DONE]",
]


def _cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places} | {len(stream)})
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(
    st.lists(st.sampled_from(EVENTS), max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_the_same_frames_come_out_however_the_bytes_come_in(
    events: list[bytes], newline: bytes, places: list[int]
) -> None:
    """Cuts anywhere, and all three line ends, give the same frames."""
    stream = b"".join(event.replace(b"\n", newline) + 2 * newline for event in events)
    frames, found = Frames(), []
    for piece in _cut(stream, places):
        found += frames.feed(piece)
    if rest := frames.end():  # a lone CR at the end may still be half of a line end
        found.append(rest + b"\n\n")
    assert found == [event + b"\n\n" for event in events]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_a_cut_at_any_place_changes_nothing(newline: bytes) -> None:
    """Between any two bytes of a stream, and so within its line ends too."""
    stream = b"".join(event.replace(b"\n", newline) + 2 * newline for event in EVENTS)
    for place in range(len(stream)):
        frames = Frames()
        found = [*frames.feed(stream[:place]), *frames.feed(stream[place:])]
        if rest := frames.end():  # a lone CR at the end may still be half of a line end
            found.append(rest + b"\n\n")
        assert found == [event + b"\n\n" for event in EVENTS]


def test_frames_are_passed_as_soon_as_they_are_whole() -> None:
    """A frame waits for its own end, and for nothing that comes after it."""
    frames = Frames()
    assert frames.feed(b"data: 1\n\ndata: 2") == [b"data: 1\n\n"]
    assert frames.feed(b"\n") == []
    assert frames.feed(b"\ndata: 3") == [b"data: 2\n\n"]
    assert frames.end() == b"data: 3"
    assert frames.end() == b""


def test_more_empty_lines_than_needed_do_no_harm() -> None:
    """Empty lines between frames belong to neither."""
    assert Frames().feed(b"\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n") == [b"data: 1\n\n", b"data: 2\n\n"]


def test_a_frame_without_end_is_given_up() -> None:
    """A server that never ends a frame does not fill the memory."""
    frames = Frames()
    with pytest.raises(ValueError, match="too large"):
        for _ in range(FRAME_BYTES_MOST // 2**20 + 2):
            frames.feed(b"x" * 2**20)


def test_data_is_what_the_data_lines_say() -> None:
    """Several data lines are one text; other lines are not data; the space after the colon is none."""
    assert data_of(b"data: one\n\n") == b"one"
    assert data_of(b"data:one\n\n") == b"one"
    assert data_of(b"event: e\nid: 4\ndata: one\ndata:  two\n\n") == b"one\n two"
    assert data_of(b": comment\n\n") == b""


@pytest.mark.parametrize(
    "frame", [b"data: [DONE]\n\n", b"data: {\n\n", b"data: [1]\n\n", b"data: 5\n\n", b": c\n\n", b""]
)
def test_only_objects_are_events(frame: bytes) -> None:
    """The end mark, broken JSON, lists and comments are no events."""
    assert parse_data(frame) is None


def test_what_a_model_says_cannot_look_like_a_frame() -> None:
    """A line break within JSON text is two other characters, so no answer can end its own frame."""
    said = 'x\n\ndata: {"usage": {"completion_tokens": 0}}\n\n'
    frame = b"data: " + json.dumps({"said": said}).encode() + b"\n\n"
    assert Frames().feed(frame) == [frame]
    assert parse_data(frame) == {"said": said}
