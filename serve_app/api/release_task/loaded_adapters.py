"""Loading, scaling and switching of adapters, for each caller alone."""

import asyncio
from dataclasses import replace
from typing import Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError

from deployments.checkpoints.adapters.outline import Form
from deployments.common.messages import AdapterUse
from serve_app.api.access.callers import Caller
from serve_app.api.service import JobService
from serve_app.jobs.loaded_adapters import NOTHING_LOADED, LoadedAdapter, LoadedAdapters
from serve_app.request.adapters import KnownAdapters, ListedAdapter

MAX_LOADED = 16
NO_FOLDERS = "❌ This server has no LoRA adapters"
NONE_LOADED = "⚠️ No LoRA adapter is loaded"


class CallersAdapters:
    """The adapters that callers have loaded, over those that the server knows."""

    def __init__(self, service: JobService, known: KnownAdapters) -> None:
        self._service = service
        self._known = known

    async def uses(self, caller: Caller) -> tuple[AdapterUse, ...]:
        """The adapters of a caller's job that names none itself."""
        if not self._known.has_folders:
            return ()
        loaded = await self._of(caller)
        if not loaded.is_on:
            return ()
        return tuple(
            AdapterUse(each.name, each.scale) for each in loaded.adapters if each.label == loaded.active
        )

    async def load(self, caller: Caller, path: str, label: str | None) -> dict[str, Any]:
        """Load an adapter by its name, or by its path in a folder of adapters. Raises HTTPException."""
        if not self._known.has_folders:
            raise HTTPException(400, NO_FOLDERS)
        listed = await asyncio.to_thread(self._known.at, path)
        if listed is None:
            raise HTTPException(400, "❌ LoRA not found: this server has no such adapter (GET /v1/models)")
        if problem := await asyncio.to_thread(self._problem, listed):
            raise HTTPException(400, f"❌ {problem}")
        name = listed.file.name
        loaded = await self._of(caller)
        if label is not None and any(each.label == label for each in loaded.adapters):
            raise HTTPException(400, "❌ Adapter name already in use")
        others = tuple(each for each in loaded.adapters if each.label != (label or name))
        if len(others) >= MAX_LOADED:
            raise HTTPException(400, f"❌ At most {MAX_LOADED} adapters can be loaded: unload them first")
        new = LoadedAdapter(label or name, name)
        await self._service.keep_adapters(
            caller.client.name, LoadedAdapters((*others, new), active=new.label, is_on=True)
        )
        answer = {"message": f"✅ LoRA loaded: {name}", "lora_path": path}
        return answer if label is None else {**answer, "adapter_name": label}

    async def unload(self, caller: Caller) -> dict[str, Any]:
        """Forget all adapters of a caller."""
        if not self._known.has_folders or not (await self._of(caller)).adapters:
            return {"message": NONE_LOADED}
        await self._service.keep_adapters(caller.client.name, NOTHING_LOADED)
        return {"message": "✅ LoRA unloaded, the model is as it was"}

    async def toggle(self, caller: Caller, is_on: bool) -> dict[str, Any]:
        """Let a caller's jobs use the adapter, or not. Raises HTTPException where none is loaded."""
        loaded = await self._loaded(caller)
        await self._service.keep_adapters(caller.client.name, replace(loaded, is_on=is_on))
        return {"message": f"✅ LoRA {'enabled' if is_on else 'disabled'}", "use_lora": is_on}

    async def scale(self, caller: Caller, scale: float, label: str | None) -> dict[str, Any]:
        """Set the strength of an adapter, by default of the active one. Raises HTTPException."""
        loaded = await self._loaded(caller)
        wanted = label or loaded.active
        if all(each.label != wanted for each in loaded.adapters):
            raise HTTPException(400, f"❌ No adapter {wanted!r} is loaded")
        adapters = tuple(
            replace(each, scale=scale) if each.label == wanted else each for each in loaded.adapters
        )
        await self._service.keep_adapters(caller.client.name, replace(loaded, adapters=adapters))
        answer = {"message": f"✅ LoRA scale set to {scale:g}", "scale": scale}
        return answer if label is None else {**answer, "adapter_name": label}

    async def status(self, caller: Caller) -> dict[str, Any]:
        """The adapters of a caller, in the form of the original."""
        loaded = await self._of(caller) if self._known.has_folders else NOTHING_LOADED
        active = next((each for each in loaded.adapters if each.label == loaded.active), None)
        return {
            "lora_loaded": bool(loaded.adapters),
            "use_lora": active is not None and loaded.is_on,
            "lora_scale": 1.0 if active is None else active.scale,
            "adapter_type": None if active is None else await asyncio.to_thread(self._type, active.name),
            "scales": {each.label: each.scale for each in loaded.adapters},
            "active_adapter": loaded.active,
            "adapters": [each.label for each in loaded.adapters],
            "synthetic_default_mode": False,
        }

    async def _of(self, caller: Caller) -> LoadedAdapters:
        return await self._service.loaded_adapters(caller.client.name)

    async def _loaded(self, caller: Caller) -> LoadedAdapters:
        loaded = await self._of(caller) if self._known.has_folders else NOTHING_LOADED
        if not loaded.adapters:
            raise HTTPException(400, NONE_LOADED)
        return loaded

    def _problem(self, listed: ListedAdapter) -> str | None:
        """Why no model of this server can use an adapter."""
        if listed.problem is not None:
            return listed.problem
        try:
            for dit in listed.models[:1]:
                self._known.check((AdapterUse(listed.file.name),), dit)
        except RequestValidationError as error:
            return str(error.errors()[0]["msg"])
        return None

    def _type(self, name: str) -> str | None:
        """The kind of an adapter by the original's names."""
        file = self._known.find(name)
        if file is None:
            return None
        return "lokr" if file.outline.form in (Form.LOKR, Form.LOHA) else "lora"
