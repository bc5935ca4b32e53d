"""Server-sent events, cut at their ends: what arrives complete is passed on at once."""

import json
from typing import Any

FRAME_BYTES_MOST = 16 * 1024 * 1024


class Frames:
    """Cuts a byte stream into frames, each with its blank line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take what arrived, and return the frames that are complete.

        Raises:
            ValueError: a frame grows beyond sixteen megabytes.
        """
        data = self._rest + chunk if self._rest else chunk
        ending = b"\n\n"
        if b"\r" in data:
            # A lone CR at the very end may be half of CRLF: it waits for the next chunk.
            held = data.endswith(b"\r")
            data, tail = (data[:-1], b"\r") if held else (data, b"")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            *frames, rest = data.split(ending)
            self._rest = rest + tail
        else:
            *frames, self._rest = data.split(ending)
        if len(self._rest) > FRAME_BYTES_MOST:
            raise ValueError("a frame of the provider's stream is too large")
        return [whole + ending for frame in frames if (whole := frame.lstrip(b"\n"))]

    def end(self) -> bytes:
        """Return what is left when the stream has ended, without its line ends."""
        rest, self._rest = self._rest, b""
        return rest.replace(b"\r", b"\n").strip(b"\n")


def data_of(frame: bytes) -> bytes:
    """Return the data of a frame: its ``data:`` lines, joined."""
    if frame.startswith(b"data: ") and frame.find(b"\n") == len(frame) - 2:
        return frame[6:-2]
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)


def parse_data(frame: bytes) -> dict[str, Any] | None:
    """Return a frame's data as an object; None if it is none."""
    try:
        found = json.loads(data_of(frame))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
