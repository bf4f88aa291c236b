"""From the frames of tokens to times of tokens and lines, and to the LRC text that players read.

Source: the lyric timestamps of ACE-Step 1.5 (June 2026). The LRC format is `[mm:ss.xx]text`, a line each.
"""

from collections.abc import Callable, Iterator, Sequence

from deployments.common.messages import TimedText
from deployments.generator.lyrics.warping import Path

Decode = Callable[[Sequence[int]], str]
"""The text of token ids. An incomplete character at the end is a replacement character."""

_DECIMALS = 3


def token_texts(ids: Sequence[int], decode: Decode) -> list[str]:
    """The text that each token adds to those before it.

    A character of several tokens belongs to the token that completes its bytes, or to the first one, if its
    replacement character has as many bytes as itself. That is how the original counts.
    """
    texts, before = [], b""
    for count in range(1, len(ids) + 1):
        text = decode(ids[:count]).encode()
        texts.append(text[len(before) :].decode(errors="ignore"))
        before = text
    return texts


def timed_tokens(texts: Sequence[str], path: Path, frame_seconds: float) -> tuple[TimedText, ...]:
    """Each token with the times of its first and last frame."""
    frames = map(path.frames_of, range(len(texts)))
    return tuple(
        TimedText(text, first * frame_seconds, last * frame_seconds)
        for text, (first, last) in zip(texts, frames, strict=True)
    )


def timed_lines(ids: Sequence[int], tokens: Sequence[TimedText], decode: Decode) -> tuple[TimedText, ...]:
    """The lines, section tags included, from the start of their first to the end of their last token."""
    return tuple(
        TimedText(text, round(tokens[first].start, _DECIMALS), round(tokens[end - 1].end, _DECIMALS))
        for first, end in _lines(tokens)
        if (text := decode(ids[first:end]).strip())
    )


def lrc(lines: Sequence[TimedText]) -> str:
    """The lines with the times of their beginnings."""
    return "\n".join(f"[{_clock(line.start)}]{line.text}" for line in lines)


def _lines(tokens: Sequence[TimedText]) -> Iterator[tuple[int, int]]:
    """The first token of each line and the one after its last. A line ends with a token with a line break."""
    first = 0
    for index, token in enumerate(tokens):
        if "\n" in token.text or index == len(tokens) - 1:
            yield first, index + 1
            first = index + 1


def _clock(seconds: float) -> str:
    """mm:ss.xx, where 59.999 s are 01:00.00."""
    minutes, rest = divmod(seconds, 60)
    if round(rest, 2) == 60:
        minutes, rest = minutes + 1, 0.0
    return f"{int(minutes):02d}:{rest:05.2f}"
