"""`/v1/audio?path=…`: songs by the addresses of this API, streamed by this server."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from serve_app.api.access.audio_tokens import AudioTokens
from serve_app.api.access.callers import Caller
from serve_app.api.access.capacity import Slots
from serve_app.api.downloads import NO_SUCH_FILE, Downloads
from serve_app.api.release_task.calls import CallReader, value_in
from serve_app.api.release_task.fields import TOKEN
from serve_app.api.release_task.songs import NamedSong, song_named
from serve_app.api.service import JobService
from serve_app.request.errors import invalid


def audio_router(
    service: JobService, calls: CallReader, downloads: Downloads, tokens: AudioTokens | None, slots: Slots
) -> APIRouter:
    """Downloads. A signature in the address, or a key of the owner, opens a song.

    They are not limited for each client, as in the original, but count among all open requests.
    """
    router = APIRouter()

    @router.api_route("/v1/audio", methods=["GET", "HEAD", "POST"])
    async def audio(request: Request) -> Response:
        async with calls.read_anonymous(request) as (body, token):
            path = value_in(body, "path")
        song = song_named(path) if isinstance(path, str) else None
        caller = await _caller(request, song, token)
        if not path:
            raise invalid("path", "Field required", "missing")
        view = await service.view(song.job_id) if song else None
        if song is None or view is None or not (caller is None or caller.may_see(view)):
            raise HTTPException(404, NO_SUCH_FILE)
        return await downloads.response(request, view, song.index, song.extension, slots.taken())

    async def _caller(request: Request, song: NamedSong | None, token: Any) -> Caller | None:
        """The caller; None where the signature in the address is valid. Raises HTTPException with 401."""
        if tokens and song and song.token and await tokens.holds(song.path, song.token):
            return None
        return calls.caller(request, token, request.query_params.get(TOKEN))

    return router
