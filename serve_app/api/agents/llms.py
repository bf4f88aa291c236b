"""`GET /llms.txt`: the server in a few lines for language models, in the form of llmstxt.org."""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

from configs.settings import ApiSettings

_TEXT = """\
# acestep-serve

> Makes music with ACE-Step 1.5: songs from captions and lyrics, covers, repaints and extensions of songs, and
> descriptions of recordings. A request makes a job; one polls it and downloads the songs.

Submit with `POST v1/music/generate` (JSON, for example `{"caption": "calm piano", "audio_duration": 30}`),
poll `GET v1/jobs/{job_id}?wait=30` until `status` is succeeded, failed or cancelled, and download
`result.audio_paths`. Errors are JSON with a `detail` that names the field. Where an answer is 429 or 503,
`Retry-After` says when to try again. A server with API keys takes `Authorization: Bearer KEY`.

## API

- [OpenAPI document](openapi.json): every endpoint, field, range and answer
- [Models](v1/models): music models and language models of this server, its limits and formats
"""
_AGENTS = "- [MCP endpoint](mcp): the same as tools of the Model Context Protocol (streamable HTTP, POST)\n"


def llms_router(settings: ApiSettings) -> APIRouter:
    """The route of the text. Its links are relative, so that they hold under a path prefix."""
    router = APIRouter(include_in_schema=False)
    text = _TEXT + _AGENTS if settings.mcp else _TEXT

    @router.get("/llms.txt")
    async def llms() -> PlainTextResponse:
        return PlainTextResponse(text)

    return router
