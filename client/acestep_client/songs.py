"""The knowledge that the client has of a song without fetching it, and its player in a notebook."""

import base64
import html
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

PLAYED_BYTES = 20_000_000
"""The largest song that becomes part of a notebook. Larger ones are named there."""
_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
}


class AnySong:
    """The common part of `Song` and `AsyncSong`."""

    def __init__(self, url: str) -> None:
        self.url = url
        """Path below the server's address, with a token that opens it for a while if the server has keys."""
        self.path = urlsplit(url).path
        """The same without the token. A later job can take it for its `src_audio`."""
        self.name = "-".join(PurePosixPath(self.path).parts[-2:])
        """A name for a file: `JOB_ID-0.mp3`."""
        self._content: bytes | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def _target(self, path: str | Path | None) -> Path:
        """The file to write: the path itself, or the song's own name in the folder that it names."""
        target = Path(path or ".")
        return target / self.name if target.is_dir() else target

    def _player(self, content: bytes | None) -> str:
        """An HTML player of the song; its name alone where the content is not there or too large."""
        if content is None or len(content) > PLAYED_BYTES:
            return f"<code>{html.escape(self.path)}</code>"
        kind = _TYPES.get(self.path.rpartition(".")[2], "audio/mpeg")
        source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        return f'<audio controls src="{source}"></audio>'
