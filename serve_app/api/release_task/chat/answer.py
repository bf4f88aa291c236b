"""The answer of a chat completion: plain, in chunks of a stream, and its errors."""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.api.errors import AsciiJSONResponse, Problem
from serve_app.api.release_task.envelope import envelope, sentence
from serve_app.request.writing import is_instrumental

CHARACTERS_PER_TOKEN = 4
"""A common estimate; nothing here is charged by tokens."""
ERROR_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Completion:
    """The fields that the plain answer and all chunks of a stream share."""

    job_id: str
    model: str
    created: int

    @property
    def id(self) -> str:
        return f"chatcmpl-{self.job_id.replace('-', '')}"

    def plain(self, result: dict[str, Any], songs: list[dict[str, Any]], text: str) -> dict[str, Any]:
        """The whole answer. `text` is what the user sent."""
        content = described(result)
        message = {
            "role": "assistant",
            "content": content,
            "audio": songs,
            "audio_codes": codes_of(result) or None,
        }
        asked, told = tokens(text), tokens(content)
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told},
            "task_id": self.job_id,
        }

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        """One event of a stream."""
        data = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
            "task_id": self.job_id,
        }
        return f"data: {json.dumps(data)}\n\n".encode("ascii")

    def failure(self, problem: str) -> bytes:
        """The last events of a stream without songs, except for `DONE`."""
        return self.chunk({"content": f"\n\nError: {problem}"}) + self.chunk({}, "error")


def new_completion(job_id: str, model: str) -> Completion:
    return Completion(job_id, model, int(time.time()))


def described(result: dict[str, Any]) -> str:
    """A description of a song in Markdown."""
    facts = {
        "Caption": result["metas"].get("caption"),
        "BPM": result["bpm"],
        "Duration": None if result["duration"] is None else f"{result['duration']:g}s",
        "Key": result["keyscale"],
        "Time Signature": result["timesignature"],
    }
    lines = [f"**{name}:** {value}" for name, value in facts.items() if value not in (None, "")]
    lyrics = result["metas"].get("lyrics") or ""
    text = "\n".join(["## Metadata", *lines])
    return text if is_instrumental(lyrics) else f"{text}\n\n## Lyrics\n{lyrics}"


def codes_of(result: dict[str, Any]) -> str:
    """The audio codes of all songs, one song a line."""
    return "\n".join(codes for codes in result["audio_codes"] if codes)


def data_url(content: bytes, media_type: str) -> dict[str, Any]:
    """A song as a part of a message."""
    url = f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
    return {"type": "audio_url", "audio_url": {"url": url}}


def tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def chat_problem(problem: Problem) -> AsciiJSONResponse:
    """The error body of chat completions: the envelope with an error object."""
    text = sentence(problem)
    kind = "server_error" if problem.status >= 500 else "invalid_request_error"
    error = {
        "message": text,
        "type": ERROR_TYPES.get(problem.status, kind),
        "param": None,
        "code": problem.status,
    }
    body = {**envelope(None, problem.status, error), "detail": text}
    return AsciiJSONResponse(body, problem.status, dict(problem.headers))
