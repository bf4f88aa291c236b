"""The LoRA routes of a server without adapters."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from serve_app.api.release_task.calls import CallReader
from serve_app.api.release_task.envelope import answer
from serve_app.api.release_task.lenient import number_in
from serve_app.request.errors import invalid
from serve_app.request.fields import flag_of

NO_ADAPTERS = "❌ This server has no LoRA adapters"
NOTHING_LOADED = "⚠️ No LoRA adapter is loaded"
STATUS: Mapping[str, Any] = {
    "lora_loaded": False,
    "use_lora": False,
    "lora_scale": 1.0,
    "adapter_type": None,
    "scales": {},
    "active_adapter": None,
    "adapters": [],
    "synthetic_default_mode": False,
}


def lora_router(calls: CallReader) -> APIRouter:
    """Loading, unloading and scaling adapters, of which there are none."""
    router = APIRouter()

    @router.api_route("/v1/lora/status", methods=["GET", "POST"])
    async def status(request: Request) -> Response:
        async with calls.read(request):
            return answer(STATUS)

    @router.post("/v1/lora/load")
    async def load(request: Request) -> Response:
        async with calls.read(request) as call:
            if not isinstance(call.value("lora_path"), str):
                raise invalid("lora_path", "Input should be the name or folder of an adapter", "missing")
            raise HTTPException(400, NO_ADAPTERS)

    @router.post("/v1/lora/unload")
    async def unload(request: Request) -> Response:
        async with calls.read(request):
            return answer({"message": NOTHING_LOADED})

    @router.post("/v1/lora/toggle")
    async def toggle(request: Request) -> Response:
        async with calls.read(request) as call:
            if flag_of(call.value("use_lora")) is None:
                raise invalid("use_lora", "Input should be true or false", "bool_parsing")
            raise HTTPException(400, NOTHING_LOADED)

    @router.post("/v1/lora/scale")
    async def scale(request: Request) -> Response:
        async with calls.read(request) as call:
            given = call.value("scale")
            number = None if isinstance(given, bool) else number_in(given)
            if number is None or not 0 <= number <= 1:
                raise invalid("scale", "Input should be a number from 0 to 1")
            raise HTTPException(400, NOTHING_LOADED)

    return router
