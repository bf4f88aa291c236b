"""The source recording of an attempt, as the models hear it."""

from configs.domain import LATENT_RATE, Task
from deployments.common.messages import EncodedAudio, EncodeRequest, Origin, TokenizeRequest, Window
from serve_app.execution.models import Models
from serve_app.request.draft import Draft


class SourceAudio:
    """Encodes the source once, for whichever stage needs it first."""

    def __init__(self, draft: Draft, models: Models, dit: str) -> None:
        """`draft` is that of a job with a source; `dit` names the checkpoint whose codes are wanted."""
        self._draft = draft
        self._models = models
        self._dit = dit
        self._encoded: EncodedAudio | None = None

    async def encoded(self, origin: Origin) -> EncodedAudio:
        """The latents of the source, with the silence that extends it."""
        if self._encoded is None:
            self._encoded = await self._models.encode(self._request(origin))
        return self._encoded

    def forget(self) -> None:
        """Encode again when the latents are wanted next, because they are lost."""
        self._encoded = None

    async def codes(self, origin: Origin) -> tuple[int, ...] | None:
        """The audio codes of the source without the silence around it; None where all of it is silent.

        A song of this server has the codes that it was made from.
        """
        if self._draft.spec.source is not None and self._draft.spec.source.codes:
            return self._draft.spec.source.codes
        latents = (await self.encoded(origin)).latents
        source, span = self._draft.spec.source, self._draft.span
        if latents is None or source is None:
            return None
        start = round((span.pad_left if span else 0.0) * LATENT_RATE)
        window = Window(start, start + max(1, round(source.seconds * LATENT_RATE)))
        request = TokenizeRequest(latents, window, origin)
        return (await self._models.tokenize(self._dit, request)).codes

    def _request(self, origin: Origin) -> EncodeRequest:
        spec, span = self._draft.spec, self._draft.span
        if spec.source is None:
            raise ValueError("a job without a source has no source audio")
        seed = spec.seeds[0]
        if span is None:
            return EncodeRequest(spec.source.uri, "source", seed, origin=origin)
        renewed = (span.start, span.end) if self._draft.task is Task.REPAINT else None
        return EncodeRequest(spec.source.uri, "source", seed, span.pad_left, span.pad_right, renewed, origin)
