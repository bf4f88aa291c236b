"""The three model deployments as the pipeline sees them."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from deployments.messages import (
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
    """The verbs of one job, in order."""

    async def plan(self, request: PlanRequest) -> Metadata: ...

    def compose(self, request: ComposeRequest) -> AsyncGenerator[Progress | AudioCodes, None]: ...

    async def encode(self, request: EncodeRequest) -> EncodedAudio: ...

    def denoise(
        self, requests: tuple[DenoiseRequest, ...]
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]: ...

    def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]: ...


class HandleModels:
    """The verbs through Serve's deployment handles."""

    def __init__(self, language_model: Any, generator: Any, codec: Any) -> None:
        self._language_model = language_model
        self._generator = generator
        self._codec = codec

    async def plan(self, request: PlanRequest) -> Metadata:
        planned: Metadata = await self._language_model.plan.remote(request)
        return planned

    def compose(self, request: ComposeRequest) -> AsyncGenerator[Progress | AudioCodes, None]:
        return _stream(self._language_model.compose, request)

    async def encode(self, request: EncodeRequest) -> EncodedAudio:
        encoded: EncodedAudio = await self._codec.encode.remote(request)
        return encoded

    def denoise(
        self, requests: tuple[DenoiseRequest, ...]
    ) -> AsyncGenerator[tuple[int, Progress | DenoisedLatents], None]:
        return _stream(self._generator.denoise, requests)

    def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        return _stream(self._codec.decode, request)


async def _stream(method: Any, request: object) -> AsyncGenerator[Any, None]:
    """Answers of a streaming deployment method; leaving early cancels the call in the replica."""
    response = method.options(stream=True).remote(request)
    try:
        async for answer in response:
            yield answer
    finally:
        response.cancel()
