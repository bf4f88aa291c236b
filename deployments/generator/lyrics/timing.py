"""From the attention of a finished song to the times of its lyrics.

This is work for a CPU and needs no model. It takes milliseconds for a song of a minute, and seconds for the
longest one with the most lyrics.
"""

from deployments.common.messages import TimedLyrics
from deployments.generator.lyrics.consensus import consensus
from deployments.generator.lyrics.listener import HeardLyrics
from deployments.generator.lyrics.scoring import alignment_score, sung_tokens
from deployments.generator.lyrics.times import lrc, timed_lines, timed_tokens, token_texts
from deployments.generator.lyrics.warping import cheapest_path


def timed_lyrics(heard: HeardLyrics) -> TimedLyrics:
    """The times of tokens and lines, and how well the song follows the lyrics."""
    texts = token_texts(heard.ids, heard.decode)
    path = cheapest_path(-consensus(heard.in_song))
    tokens = timed_tokens(texts, path, heard.seconds / heard.in_song.shape[2])
    lines = timed_lines(heard.ids, tokens, heard.decode)
    is_sung = sung_tokens(texts)
    return TimedLyrics(
        lines=lines,
        tokens=tokens,
        lrc=lrc(lines),
        score=alignment_score(heard.in_song, is_sung).total,
        condition_score=alignment_score(heard.in_noise, is_sung).total,
    )
