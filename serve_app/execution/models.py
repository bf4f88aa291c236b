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
    DescribeRequest,
    EncodedAudio,
    EncodeRequest,
    Metadata,
    PlanRequest,
    Progress,
    RecordingRefs,
    SongDescription,
    TokenizeRequest,
)


class Models(Protocol):
    """The model calls of a job, in order. `language_model` and `dit` are names of checkpoints."""

    async def plan(self, language_model: str, request: PlanRequest) -> Metadata: ...

    async def describe(self, language_model: str, request: DescribeRequest) -> SongDescription: ...

    def compose(
        self, language_model: str, request: ComposeRequest
    ) -> AsyncGenerator[Progress | AudioCodes, None]: ...

    async def encode(self, request: EncodeRequest) -> EncodedAudio: ...

    async def tokenize(self, dit: str, request: TokenizeRequest) -> AudioCodes: ...

    def denoise(
        self, dit: str, requests: tuple[DenoiseRequest, ...], recordings: RecordingRefs
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]: ...

    def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]: ...


class HandleModels:
    """The model calls through Serve's deployment handles. They may be used from any event loop.

    Serve routes the calls of all handles of a process on its own thread (unless the environment variable
    RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP is 0) and delivers the answers to the loop that waits for them.
    """

    def __init__(self, language_models: Mapping[str, Any], generators: Mapping[str, Any], codec: Any) -> None:
        """Handles by checkpoint. `generators` has one for each DiT."""
        self._language_models = language_models
        self._generators = generators
        self._codec = codec

    async def plan(self, language_model: str, request: PlanRequest) -> Metadata:
        planned: Metadata = await _call(self._language_model(language_model).plan, request)
        return planned

    async def describe(self, language_model: str, request: DescribeRequest) -> SongDescription:
        described: SongDescription = await _call(self._language_model(language_model).describe, request)
        return described

    def compose(
        self, language_model: str, request: ComposeRequest
    ) -> AsyncGenerator[Progress | AudioCodes, None]:
        return _stream(self._language_model(language_model).compose, request)

    async def encode(self, request: EncodeRequest) -> EncodedAudio:
        encoded: EncodedAudio = await _call(self._codec.encode, request)
        return encoded

    async def tokenize(self, dit: str, request: TokenizeRequest) -> AudioCodes:
        generator = _served("music model", dit, self._generators)
        codes: AudioCodes = await _call(generator.tokenize, request)
        return codes

    def denoise(
        self, dit: str, requests: tuple[DenoiseRequest, ...], recordings: RecordingRefs
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        return _stream(_served("music model", dit, self._generators).denoise, requests, recordings)

    def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        return _stream(self._codec.decode, request)

    def _language_model(self, name: str) -> Any:
        return _served("language model", name, self._language_models)


def _served(kind: str, name: str, handles: Mapping[str, Any]) -> Any:
    """The handle of a checkpoint. Raises JobError where the server was started anew without it."""
    if name not in handles:
        raise JobError(f"This server does not have the {kind} {name!r} any more, only {', '.join(handles)}.")
    return handles[name]


async def _call(method: Any, request: object) -> Any:
    """The answer of a deployment method. Cancelling the caller cancels the call in the replica."""
    response = method.remote(request)
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise


async def _stream(method: Any, *arguments: object) -> AsyncGenerator[Any, None]:
    """The answers of a streaming deployment method. Closing the generator cancels the call in the replica."""
    response = method.options(stream=True).remote(*arguments)
    try:
        async for answer in response:
            yield answer
    finally:
        response.cancel()
