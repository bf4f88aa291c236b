"""The models that are served, requests to load others, and the routes that are not served."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from serve_app.api.readiness import KnownCondition
from serve_app.api.release_task.calls import Call, CallReader
from serve_app.api.release_task.envelope import answer
from serve_app.api.release_task.lenient import number_in
from serve_app.request.capabilities import Limits
from serve_app.request.errors import invalid
from serve_app.request.fields import flag_of

SLOTS = 3
"""Models that the original can hold, numbered from 1."""
NOT_SERVED: Mapping[str, str] = {
    "/v1/training/{rest:path}": "This server does not train models",
    "/v1/dataset/{rest:path}": "This server does not prepare data sets",
    "/v1/voice/{rest:path}": "This server does not convert voices",
    "/v1/transcribe": "This server does not transcribe lyrics",
}


def inventory_router(known_condition: KnownCondition, calls: CallReader, limits: Limits) -> APIRouter:
    """Models and the requests to load others, which this server never does."""
    router = APIRouter()

    async def inventory() -> dict[str, Any]:
        condition = await known_condition()
        ready = set(condition.parts) - set(condition.away)
        has_language = "LanguageModel" in ready
        return {
            "models": [
                {
                    "name": dit.name,
                    "is_default": dit is limits.dits[0],
                    "is_loaded": "Generator" in ready,
                    "supported_task_types": list(dit.tasks),
                    "takes_guidance": dit.takes_guidance,
                    "default_steps": dit.default_steps,
                }
                for dit in limits.dits
            ],
            "default_model": limits.dits[0].name,
            "lm_models": [{"name": name, "is_loaded": has_language} for name in limits.language_models],
            "loaded_lm_model": limits.language_models[0] if has_language else None,
            "llm_initialized": has_language,
        }

    @router.api_route("/v1/model_inventory", methods=["GET", "POST"])
    async def model_inventory(request: Request) -> Response:
        async with calls.read(request):
            return answer(await inventory())

    @router.post("/v1/init")
    async def init(request: Request) -> Response:
        async with calls.read(request) as call:
            slot = _slot(call)
            model = _served(call, "model", tuple(dit.name for dit in limits.dits))
            lm_model = _served(call, "lm_model_path", limits.language_models)
            init_llm = call.value("init_llm")
            if init_llm is not None and flag_of(init_llm) is None:
                raise invalid("init_llm", "Input should be true or false", "bool_parsing")
        known = await inventory()
        return answer(
            {
                "message": "The models that this server serves are loaded",
                "slot": slot,
                "loaded_model": model,
                **{name: known[name] for name in ("models", "lm_models", "llm_initialized")},
                "loaded_lm_model": lm_model if known["llm_initialized"] else None,
            }
        )

    @router.post("/v1/reinitialize")
    async def reinitialize(request: Request) -> Response:
        async with calls.read(request):
            return answer({"message": "Nothing had to be loaded again", "reloaded": []})

    for path, sentence in NOT_SERVED.items():
        router.add_api_route(path, _refusal(sentence), methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
    return router


def _slot(call: Call) -> int:
    """Raises RequestValidationError."""
    given = call.value("slot")
    number = 1 if given is None else None if isinstance(given, bool) else number_in(given)
    if number is None or number not in range(1, SLOTS + 1):
        raise invalid("slot", f"Input should be a number from 1 to {SLOTS}")
    return int(number)


def _served(call: Call, name: str, names: tuple[str, ...]) -> str:
    """The model that a call names, or the default.

    Raises HTTPException with 400 for one that is not served, or RequestValidationError.
    """
    given = call.value(name)
    if given is None:
        return names[0]
    if not isinstance(given, str):
        raise invalid(name, "Input should be a name", "string_type")
    wanted = given.rpartition("/")[2]
    if wanted not in names:
        raise HTTPException(400, f"{name}: this server serves {', '.join(names)}, and loads no others")
    return wanted


def _refusal(sentence: str) -> Any:
    async def refuse() -> Response:
        raise HTTPException(404, sentence)

    return refuse
