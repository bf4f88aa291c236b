"""The interface of the model deployments for the pipeline."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from deployments.common.errors import JobError
from deployments.common.messages import (
    AudioCodes,
    AudioFile,
    ComposeRequest,
    DecodeRequest,
    DenoisedLatents,
    DenoiseRequest,
    EncodedAudio,
    EncodeRequest,
    Metadata,
    PlanRequest,
    Progress,
)


class Models(Protocol):
    """The model calls of a job, in order. `language_model` is the name of a checkpoint."""

    async def plan(self, language_model: str, request: PlanRequest) -> Metadata: ...

    def compose(
        self, language_model: str, request: ComposeRequest
    ) -> AsyncGenerator[Progress | AudioCodes, None]: ...

    async def encode(self, request: EncodeRequest) -> EncodedAudio: ...

    def denoise(
        self, requests: tuple[DenoiseRequest, ...]
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]: ...

    def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]: ...


class HandleModels:
    """The model calls through Serve's deployment handles. They may be used from any event loop.

    Serve routes the calls of all handles of a process on its own thread (unless the environment variable
    RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP is 0) and delivers the answers to the loop that waits for them.
    """

    def __init__(self, language_models: Mapping[str, Any], generator: Any, codec: Any) -> None:
        self._language_models = language_models
        self._generator = generator
        self._codec = codec

    async def plan(self, language_model: str, request: PlanRequest) -> Metadata:
        planned: Metadata = await _call(self._language_model(language_model).plan, request)
        return planned

    def compose(
        self, language_model: str, request: ComposeRequest
    ) -> AsyncGenerator[Progress | AudioCodes, None]:
        return _stream(self._language_model(language_model).compose, request)

    async def encode(self, request: EncodeRequest) -> EncodedAudio:
        encoded: EncodedAudio = await _call(self._codec.encode, request)
        return encoded

    def denoise(
        self, requests: tuple[DenoiseRequest, ...]
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        return _stream(self._generator.denoise, requests)

    def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        return _stream(self._codec.decode, request)

    def _language_model(self, name: str) -> Any:
        if name not in self._language_models:
            there = ", ".join(self._language_models)
            raise JobError(f"This server does not have the language model {name!r} any more, only {there}.")
        return self._language_models[name]


async def _call(method: Any, request: object) -> Any:
    """The answer of a deployment method. Cancelling the caller cancels the call in the replica."""
    response = method.remote(request)
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise


async def _stream(method: Any, request: object) -> AsyncGenerator[Any, None]:
    """The answers of a streaming deployment method. Closing the generator cancels the call in the replica."""
    response = method.options(stream=True).remote(request)
    try:
        async for answer in response:
            yield answer
    finally:
        response.cancel()
