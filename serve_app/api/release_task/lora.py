"""The routes `/v1/lora/*`, by which a caller chooses an adapter for all its jobs."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve_app.api.release_task.calls import Call, CallReader
from serve_app.api.release_task.envelope import answer
from serve_app.api.release_task.lenient import NO_TEXT, number_in
from serve_app.api.release_task.loaded_adapters import CallersAdapters
from serve_app.request.errors import invalid
from serve_app.request.fields import MAX_ADAPTER_NAME, flag_of
from serve_app.request.schemas import MAX_PATH_LENGTH


def lora_router(calls: CallReader, loaded: CallersAdapters) -> APIRouter:
    """Loading, unloading and scaling adapters. The original has one for all; here each caller has its own."""
    router = APIRouter()

    @router.api_route("/v1/lora/status", methods=["GET", "POST"])
    async def status(request: Request) -> Response:
        async with calls.read(request) as call:
            return answer(await loaded.status(call.caller))

    @router.post("/v1/lora/load")
    async def load(request: Request) -> Response:
        async with calls.read(request) as call:
            path = call.value("lora_path")
            if not isinstance(path, str) or len(path) > MAX_PATH_LENGTH or NO_TEXT.search(path):
                raise invalid("lora_path", "Input should be the name or folder of an adapter", "missing")
            return answer(await loaded.load(call.caller, path, _label(call)))

    @router.post("/v1/lora/unload")
    async def unload(request: Request) -> Response:
        async with calls.read(request) as call:
            return answer(await loaded.unload(call.caller))

    @router.post("/v1/lora/toggle")
    async def toggle(request: Request) -> Response:
        async with calls.read(request) as call:
            is_on = flag_of(call.value("use_lora"))
            if is_on is None:
                raise invalid("use_lora", "Input should be true or false", "bool_parsing")
            return answer(await loaded.toggle(call.caller, is_on))

    @router.post("/v1/lora/scale")
    async def scale(request: Request) -> Response:
        async with calls.read(request) as call:
            given = call.value("scale")
            number = None if isinstance(given, bool) else number_in(given)
            if number is None or not 0 <= number <= 1:
                raise invalid("scale", "Input should be a number from 0 to 1")
            return answer(await loaded.scale(call.caller, number, _label(call)))

    return router


def _label(call: Call) -> str | None:
    """The caller's own name of an adapter. Raises RequestValidationError."""
    label = call.value("adapter_name")
    if label is None:
        return None
    if not isinstance(label, str) or len(label) > MAX_ADAPTER_NAME or NO_TEXT.search(label):
        message = f"Input should be a text of at most {MAX_ADAPTER_NAME} characters"
        raise invalid("adapter_name", message, "string_type")
    return label
