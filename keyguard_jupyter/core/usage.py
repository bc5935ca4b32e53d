"""What a call used: a provider's report, taken apart into tokens that are each billed once.

Reports overlap: cached tokens are part of the prompt, and so are audio tokens, and a token can be both. A price has one
rate per kind of token. The readers here turn the first into the second, and refuse a report whose parts exceed their
wholes: whoever settles a call must not have to guess.

Where a report leaves open which tokens are meant, the dearer reading is taken:

- Cached tokens are first those of the text, then of images, then of audio.
- A total above prompt plus completion is output. (Some servers count reasoning in the total alone.)
- Tokens written to a cache without a word of how long are written for the shorter time, the provider's default.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UsageError

LARGEST_COUNT = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, by what they are billed as; the parts do not overlap.

    Args:
        input: text read at the full rate.
        cached: text or image read from a cache.
        cache_write: written to a cache for the default time (30 minutes with OpenAI, 5 with Anthropic).
        cache_write_12h: written to a cache for the longer time (12 hours with OpenAI, one with Anthropic).
        audio_input: audio read at the full rate.
        cached_audio: audio read from a cache.
        image_input: images read at the full rate.
        output: text written, reasoning included.
        audio_output: audio written.
        image_output: images written.
        reasoning: how much of ``output`` was reasoning; for information, billed as output.
    """

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_12h: int = 0
    audio_input: int = 0
    cached_audio: int = 0
    image_input: int = 0
    output: int = 0
    audio_output: int = 0
    image_output: int = 0
    reasoning: int = 0

    @property
    def input_total(self) -> int:
        """Return every token read; the long-context step looks at this."""
        return (
            self.input
            + self.cached
            + self.cache_write
            + self.cache_write_12h
            + self.audio_input
            + self.cached_audio
            + self.image_input
        )

    @property
    def output_total(self) -> int:
        """Return every token written."""
        return self.output + self.audio_output + self.image_output

    @property
    def total(self) -> int:
        """Return every token."""
        return self.input_total + self.output_total


def from_chat(usage: Mapping[str, object]) -> Usage:
    """Read the ``usage`` of a chat completion.

    Args:
        usage: ``prompt_tokens``, ``completion_tokens``; perhaps ``total_tokens`` and the two ``…_details``.

    Raises:
        UsageError: a count is missing, negative, not a whole number or absurd, or parts exceed their whole.
    """
    return _read(usage, "prompt_tokens", "completion_tokens")


def from_completions(usage: Mapping[str, object]) -> Usage:
    """Read the ``usage`` of a legacy completion, which has the fields of a chat's.

    Raises:
        UsageError: as `from_chat`.
    """
    return _read(usage, "prompt_tokens", "completion_tokens")


def from_responses(usage: Mapping[str, object]) -> Usage:
    """Read the ``usage`` of a response.

    Args:
        usage: ``input_tokens``, ``output_tokens``; perhaps ``total_tokens`` and the two ``…_details``.

    Raises:
        UsageError: as `from_chat`.
    """
    return _read(usage, "input_tokens", "output_tokens")


def from_embeddings(usage: Mapping[str, object]) -> Usage:
    """Read the ``usage`` of embeddings, which write no tokens: what the total has more is input.

    Raises:
        UsageError: as `from_chat`.
    """
    report = _mapping(usage, "usage")
    whole = _count(report, "prompt_tokens", required=True)
    return _split(max(whole, _total(report, whole)), _details(report, "prompt_tokens_details"), 0, {})


def _read(usage: object, read: str, written: str) -> Usage:
    report = _mapping(usage, "usage")
    prompt = _count(report, read, required=True)
    completion = _count(report, written, required=True)
    output = _total(report, prompt + completion) - prompt
    return _split(prompt, _details(report, f"{read}_details"), output, _details(report, f"{written}_details"))


def _split(prompt: int, read: Mapping[str, object], output: int, written: Mapping[str, object]) -> Usage:
    if _is_plain(read) and _is_plain(written):
        return Usage(input=prompt, output=output)
    audio, image = _modalities(read, prompt, "prompt")
    cached = _count(read, "cached_tokens")
    write, write_12h = _writes(read)
    _within(cached + write + write_12h, prompt, "cached tokens", "the prompt")
    text, cached_text = _take(prompt - audio - image, cached)
    image, cached_image = _take(image, cached - cached_text)
    cached_audio = cached - cached_text - cached_image
    # What is written beyond text and images is audio, and stays billed as that: no write costs more.
    text, text_12h = _take(text, write_12h)
    image, image_12h = _take(image, write_12h - text_12h)
    text, text_write = _take(text, write)
    image, image_write = _take(image, write - text_write)
    audio_out, image_out = _modalities(written, output, "completion")
    reasoning = _count(written, "reasoning_tokens")
    _within(reasoning + audio_out + image_out, output, "reasoning tokens", "the completion")
    predicted = _count(written, "accepted_prediction_tokens") + _count(written, "rejected_prediction_tokens")
    _within(predicted, output, "predicted tokens", "the completion")
    return Usage(
        input=text,
        cached=cached_text + cached_image,
        cache_write=text_write + image_write,
        cache_write_12h=text_12h + image_12h,
        audio_input=audio - cached_audio,
        cached_audio=cached_audio,
        image_input=image,
        output=output - audio_out - image_out,
        audio_output=audio_out,
        image_output=image_out,
        reasoning=reasoning,
    )


def _is_plain(details: Mapping[str, object]) -> bool:
    """Tell whether nothing is counted apart: the usual case, for which the rest is not worth its time."""
    return all(value is None or (type(value) is int and not value) for value in details.values())


def _modalities(details: Mapping[str, object], whole: int, name: str) -> tuple[int, int]:
    audio, image = _count(details, "audio_tokens"), _count(details, "image_tokens")
    text = _count(details, "text_tokens")
    _within(audio + image + text, whole, "text, audio and image tokens", f"the {name}")
    return audio, image


def _writes(details: Mapping[str, object]) -> tuple[int, int]:
    by_time = _details(details, "cache_write_tokens_details")
    long, short = _count(by_time, "ttl_12h_tokens"), _count(by_time, "ttl_30m_tokens")
    if details.get("cache_write_tokens") is None:
        return short, long
    written = _count(details, "cache_write_tokens")
    _within(long + short, written, "cache writes by time", "all cache writes")
    return written - long, long


def _take(available: int, wanted: int) -> tuple[int, int]:
    taken = min(available, wanted)
    return available - taken, taken


def _total(report: Mapping[str, object], least: int) -> int:
    if report.get("total_tokens") is None:
        return least
    total = _count(report, "total_tokens")
    _within(least, total, "prompt and completion", "the total")
    return total


def _within(part: int, whole: int, part_name: str, whole_name: str) -> None:
    if part > whole:
        raise UsageError(f"impossible usage: {part_name} ({part}) exceed {whole_name} ({whole})")


def _details(report: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = report.get(name)
    return {} if value is None else _mapping(value, name)


def _mapping(value: object, name: str) -> Mapping[str, object]:
    if type(value) is not dict and not isinstance(value, Mapping):  # the former is what JSON gives, and quicker
        raise UsageError(f"impossible usage: {name} is not an object")
    return value


def _count(report: Mapping[str, object], name: str, *, required: bool = False) -> int:
    value = report.get(name)
    if value is None and not required:
        return 0
    # type() and not isinstance(): True is an int to Python, and no count.
    if type(value) is not int or not 0 <= value <= LARGEST_COUNT:
        raise UsageError(f"impossible usage: {name} is not a count of tokens")
    return value
