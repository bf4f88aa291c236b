"""The DiT's context for each task: source latents, and the mask of the frames that are generated.

Source: the conditioning of ACE-Step 1.5; lego as in its April 2026 version, which keeps the source in the
window.
"""

from dataclasses import dataclass

import torch

from configs.domain import SOURCE_TASKS, WINDOW_TASKS, Task
from deployments.checkpoints.loading import DiTModules
from deployments.common.latents_store import Latents
from deployments.common.messages import DenoiseRequest, Window

REFERENCE_FRAMES = 750
"""Frames of the timbre reference (30 s)."""


@dataclass(frozen=True)
class RecordingLatents:
    """The latents of a job's recordings; None stands for silence."""

    source: Latents | None = None
    """[frames, channels]"""
    reference: Latents | None = None
    """[750, channels] of the timbre reference."""


NO_RECORDINGS = RecordingLatents()


@dataclass(frozen=True)
class TaskContext:
    """The context of one song; latents are [frames, channels]."""

    context: torch.Tensor
    """[frames, 2 * channels]: source latents, and the mask, which is 1 in generated frames."""
    silent_context: torch.Tensor
    """The same mask with silence, for the steps after a cover's switch to text2music."""
    clean: torch.Tensor | None
    """The latents of the source; None without a source."""
    window: Window
    """The frames that are generated."""


class TaskContexts:
    """Makes contexts with the silence, audio tokenizer and detokenizer of a checkpoint."""

    def __init__(self, modules: DiTModules, is_for_stems: bool = False) -> None:
        """`is_for_stems` says that the checkpoint knows the mask mode `auto`."""
        self._modules = modules
        self._is_for_stems = is_for_stems
        self._silence: torch.Tensor = modules.condition_encoder.silence_latent[0]

    @property
    def channels(self) -> int:
        return self._silence.shape[1]

    @property
    def silent_reference(self) -> torch.Tensor:
        """[750, channels]: the timbre reference of songs without one."""
        return self._silence[:REFERENCE_FRAMES]

    def silence(self, frames: int) -> torch.Tensor:
        """[frames, channels]; the checkpoint's 600 s of silence are repeated for longer songs."""
        repeats = -(-frames // self._silence.shape[0])
        return self._silence.repeat(repeats, 1)[:frames]

    def tensor(self, latents: Latents) -> torch.Tensor:
        """`latents` on the model's device in its dtype."""
        return torch.tensor(latents, device=self._silence.device, dtype=self._silence.dtype)

    def __call__(self, request: DenoiseRequest, source: Latents | None) -> TaskContext:
        """`source` is the latents of the source recording, [frames, channels]."""
        silence = self.silence(request.frames)
        clean = None if source is None else self._fit(self.tensor(source), request.frames)
        window = self._window(request)
        if request.codes is not None:
            content = self._fit(self.latents_of(request.codes), request.frames)
        elif clean is None or request.task not in SOURCE_TASKS:
            content = silence
        elif request.task is Task.COVER and not request.options.cover_nofsq:
            content = self._through_codes(clean)
        elif request.task is Task.REPAINT:
            content = clean.clone()
            content[window.start : window.end] = silence[window.start : window.end]
        else:
            content = clean
        mask = torch.zeros_like(silence)
        masked = Window(0, request.frames) if self.masks_everything(request) else window
        mask[masked.start : masked.end] = 1.0
        return TaskContext(torch.cat([content, mask], -1), torch.cat([silence, mask], -1), clean, window)

    def masks_everything(self, request: DenoiseRequest) -> bool:
        """Whether the mask covers the whole song instead of the window."""
        mode = request.options.chunk_mask_mode
        is_auto = mode == "auto" and self._is_for_stems and request.task is not Task.REPAINT
        return is_auto or mode == "all"

    def _window(self, request: DenoiseRequest) -> Window:
        whole = Window(0, request.frames)
        if request.codes is not None or request.task not in WINDOW_TASKS or request.window is None:
            return whole
        start = min(max(request.window.start, 0), request.frames - 1)
        return Window(start, min(max(request.window.end, start + 1), request.frames))

    def _fit(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        missing = frames - latents.shape[0]
        return latents[:frames] if missing <= 0 else torch.cat([latents, self.silence(missing)])

    def latents_of(self, codes: tuple[int, ...]) -> torch.Tensor:
        """The latents [5 * codes, channels] that codes stand for."""
        indices = torch.tensor(codes, device=self._silence.device)[None, :, None]
        quantized = self._modules.audio_tokenizer.quantizer.get_output_from_indices(indices)
        latents: torch.Tensor = self._modules.audio_token_detokenizer(quantized)[0]
        return latents

    def codes_of(self, latents: Latents) -> tuple[int, ...]:
        """The audio codes of latents [frames, channels], one for each five frames."""
        _, indices = self._modules.audio_tokenizer.tokenize(self.tensor(latents)[None], self._silence[None])
        return tuple(indices.flatten().tolist())

    def _through_codes(self, latents: torch.Tensor) -> torch.Tensor:
        """`latents` quantised to 5 Hz codes and back, [frames, channels]."""
        quantized, _ = self._modules.audio_tokenizer.tokenize(latents[None], self._silence[None])
        decoded: torch.Tensor = self._modules.audio_token_detokenizer(quantized)[0]
        return decoded[: latents.shape[0]]
