"""The generator without Ray: `start` makes a song of a request, `step` moves songs, `finish` answers.

engine = load_engine(settings.models, "acestep-v15-turbo", settings.generator)
song = engine.start(request)
while not song.trajectory.done:
    engine.step([song])
finished = engine.finish(song)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from configs.domain import INSTRUCTIONS, Task
from deployments.checkpoints.catalog import DiTCheckpoint, Variant, dit_checkpoint
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.loading import DiTModules, load_dit, load_text_encoder, load_tokenizer
from deployments.checkpoints.location import checkpoint_folder
from deployments.common.errors import JobError
from deployments.common.latents_store import Latents
from deployments.common.messages import (
    AudioCodes,
    DenoiseRequest,
    DiffusionOptions,
    Morph,
    Untimed,
    UsedOptions,
    Window,
)
from deployments.common.precision import engine_dtype
from deployments.generator.adapters.mounting import Mount, Mounter
from deployments.generator.conditioning import ConditionEncoder
from deployments.generator.correction import StepCorrection
from deployments.generator.forward import PackedTransformer
from deployments.generator.guidance import Guidance
from deployments.generator.lyrics.listener import HeardLyrics, LyricListener, SungLyrics
from deployments.generator.model_arithmetic import ModelArithmetic
from deployments.generator.morphing import Branch, MorphSteps, MorphTrajectory
from deployments.generator.prompts import (
    MAX_CAPTION_TOKENS,
    MAX_LYRIC_TOKENS,
    caption_prompt,
    lyric_prompt,
    stem_caption,
)
from deployments.generator.schedules import Schedule, heun_steps, renoising_levels, schedule
from deployments.generator.tasks import NO_RECORDINGS, RecordingLatents, TaskContext, TaskContexts
from deployments.generator.text_encoder import PromptTokenizer, PromptTokens, TextEncoder
from deployments.generator.trajectory import (
    Condition,
    CoverSwitch,
    KeptSource,
    Renoising,
    Trajectory,
)
from deployments.generator.velocities import VelocityControl

if TYPE_CHECKING:
    from configs.settings import GeneratorSettings, ModelSettings

_SWITCHING_TASKS = frozenset({Task.COVER, Task.EXTRACT, Task.COMPLETE})
"""Tasks in which `audio_cover_strength` drops the source after some steps.

Tasks with a window are left out: they would lose the part of the source that they keep.
"""

AnyTrajectory = Trajectory | MorphTrajectory

Velocities = list[torch.Tensor]
"""The velocity [frames, channels] of each row of one song."""


@dataclass(frozen=True)
class StepSize:
    """The size of one step of a song."""

    tokens: int
    frames: int
    """Latent frames of its rows, including the padding of their last patches."""
    padding_frames: int


@dataclass(frozen=True)
class Song:
    """One item of a job while it is denoised."""

    trajectory: AnyTrajectory
    options: DiffusionOptions
    guidance_scale: float | None
    """None if the model takes no guidance."""
    truncated: tuple[str, ...]
    """The texts that were cut."""
    lyrics: SungLyrics | Untimed | None = None
    """The lyrics whose times are wanted, or why there will be none."""


@dataclass(frozen=True)
class FinishedSong:
    """The latents of a song after its last step."""

    latents: Latents
    used: UsedOptions
    lyrics: SungLyrics | None = None
    """The lyrics, where their times are wanted."""


def load_engine(models: "ModelSettings", dit: str, settings: "GeneratorSettings") -> "GeneratorEngine":
    """The engine of the DiT called `dit` and the configured text encoder. Raises CheckpointError."""
    device, dtype = settings.device, engine_dtype(settings.dtype, settings.device)
    # On newer GPUs torch would use cuDNN's attention in the encoders, which builds a graph for each length.
    torch.backends.cuda.enable_cudnn_sdp(False)
    text_folder = checkpoint_folder(models, models.text_encoder)
    modules = load_dit(checkpoint_folder(models, dit), device, dtype)
    text_encoder = TextEncoder(load_text_encoder(text_folder, device, dtype))
    tokenizer = PromptTokenizer(load_tokenizer(text_folder))
    checkpoint = dit_checkpoint(dit, models.folder)
    engine = GeneratorEngine(checkpoint, modules, text_encoder, tokenizer, settings.compiled)
    if settings.device == "cuda":
        torch.cuda.empty_cache()  # weights that were copied into joined matrices
    engine.warm_up(with_adapters=bool(models.adapters))
    return engine


class GeneratorEngine:
    """Encodes prompts and sources, moves songs step by step, and returns their latents."""

    def __init__(
        self,
        checkpoint: DiTCheckpoint,
        modules: DiTModules,
        text_encoder: TextEncoder,
        tokenizer: PromptTokenizer,
        compiled: bool = True,
    ) -> None:
        """With `compiled` a GPU compiles parts of the DiT, in `warm_up`.

        Raises CheckpointError if a checkpoint with an official name holds another variant.
        """
        if modules.variant is not checkpoint.variant:
            raise CheckpointError(
                f"{checkpoint.name} should be a {checkpoint.variant} model, not {modules.variant}"
            )
        self.checkpoint = checkpoint
        self.text_encoder = text_encoder
        self._transformer = PackedTransformer(modules.transformer, compiled=compiled)
        self.tokenizer = tokenizer
        self.contexts = TaskContexts(modules, checkpoint.is_for_stems)
        self._conditions = ConditionEncoder(modules, text_encoder, self.contexts.silent_reference)
        self._listener = LyricListener(self._transformer, modules.alignment_heads, tokenizer)

    @torch.inference_mode()
    def warm_up(self, with_adapters: bool = False) -> None:
        """Compile what a GPU runs compiled, before the first song. Raises RuntimeError."""
        self._transformer.warm_up(with_adapters)

    @torch.inference_mode()
    def start(
        self,
        request: DenoiseRequest,
        recordings: RecordingLatents = NO_RECORDINGS,
        mount: Mount | None = None,
    ) -> Song:
        """Encode the texts and the recordings and draw the noise. A morph without a clip is a song.

        `mount` are the adapters of the request (`mounter`).
        """
        caption = self._caption_tokens(request, request.instruction)
        lyrics = self.tokenizer(lyric_prompt(request.lyrics, request.language), MAX_LYRIC_TOKENS)
        reference = None if recordings.reference is None else self.contexts.tensor(recordings.reference)
        prefix = self._conditions.prefix(lyrics.ids, reference)
        source = self.contexts(request, recordings.source)
        timesteps = self._timesteps(request, source)
        condition = Condition(self._conditions.states(prefix, caption.ids), source.context, mount)
        truncated = [name for name, text in (("caption", caption), ("lyrics", lyrics)) if text.truncated]
        scale = request.options.guidance_scale if self.checkpoint.takes_guidance else None
        trajectory: AnyTrajectory
        if request.morph is not None and source.clean is not None:
            trajectory = self._morph(request, request.morph, source, reference, timesteps, condition)
        else:
            trajectory = self._trajectory(
                request,
                source,
                timesteps,
                condition,
                self._cover_switch(request, source, prefix, len(caption.ids), len(timesteps), mount),
            )
        return Song(
            trajectory,
            request.options,
            scale,
            tuple(truncated),
            self._listener.lyrics_of(request, lyrics, condition),
        )

    def _trajectory(
        self,
        request: DenoiseRequest,
        source: TaskContext,
        timesteps: Schedule,
        condition: Condition,
        switch: CoverSwitch | None,
    ) -> Trajectory:
        generator = torch.Generator(self._device).manual_seed(request.seed)
        draw = self._noise_source(generator, request.frames)
        noise = self._varied(draw(), request)
        options = request.options
        return Trajectory(
            noise,
            self._beginning(request, source, noise, timesteps[0]),
            timesteps,
            condition,
            unconditional=self._conditions.unconditional,
            guidance=self._guidance(options),
            switch=switch,
            kept=self._kept_source(request, source, len(timesteps)),
            renoising=self._renoising(request, timesteps, draw),
            control=_control(options),
            correction=self._correction(options),
            heun_steps=heun_steps(
                self.checkpoint.variant, options.sampler_mode, options.infer_method, len(timesteps)
            ),
        )

    def _morph(
        self,
        request: DenoiseRequest,
        morph: Morph,
        source: TaskContext,
        reference: torch.Tensor | None,
        timesteps: Schedule,
        condition: Condition,
    ) -> MorphTrajectory:
        """The morph of the clip in `source` into the song of `condition`."""
        assert source.clean is not None
        lyrics = self.tokenizer(lyric_prompt(morph.lyrics, request.language), MAX_LYRIC_TOKENS)
        caption = self._caption_tokens(replace(request, caption=morph.caption), request.instruction)
        states = self._conditions.states(self._conditions.prefix(lyrics.ids, reference), caption.ids)
        options = replace(request.options, use_adg=False)
        song, clip = (
            Branch(
                words,
                words.without_words(self._conditions.unconditional),
                self._guidance(options),
                _control(options),
            )
            for words in (condition, replace(condition, encoder_states=states))
        )
        seed = request.seed if request.retake is None else request.retake.seed
        draw = self._noise_source(torch.Generator(self._device).manual_seed(seed), request.frames)
        steps = len(timesteps)
        return MorphTrajectory(
            source.clean.float(),
            timesteps,
            song,
            clip,
            MorphSteps(int(steps * morph.first_share), int(steps * morph.end_share), morph.draws),
            draw,
        )

    @torch.inference_mode()
    def tokenize(self, latents: Latents, window: Window | None = None) -> AudioCodes:
        """The audio codes of a recording, or of the part of it that is inside the window."""
        part = latents if window is None else latents[window.start : window.end]
        return AudioCodes(self.contexts.codes_of(part))

    def step(self, songs: Sequence[Song]) -> None:
        """Move each song by one step."""
        for song, velocities in zip(songs, self.velocities(songs), strict=True):
            self.advance(song, velocities)

    @torch.inference_mode()
    def velocities(self, songs: Sequence[Song]) -> list[Velocities]:
        """The velocities of each song at its present step, in one forward. The songs do not change."""
        rows = [song.trajectory.rows() for song in songs]
        velocities = iter(self._transformer.velocities([row for of_song in rows for row in of_song]))
        return [[next(velocities) for _ in of_song] for of_song in rows]

    @torch.inference_mode()
    def advance(self, song: Song, velocities: Velocities) -> None:
        """Move `song` by one step along its `velocities`."""
        trajectory = song.trajectory
        conditions = trajectory.conditions
        trajectory.advance(velocities)
        if trajectory.done or trajectory.conditions is not conditions:
            self._transformer.forget(conditions)  # no later batch has these rows

    def free_memory(self) -> None:
        """Free caches; what they held is computed again when it is needed.

        A GPU's memory goes back to the device, where other processes may need it.
        """
        self._transformer.clear_caches()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def tokens(self, song: Song) -> int:
        """Tokens that the next step of `song` adds to a forward."""
        return self.size(song).tokens

    def text_tokens(self, song: Song) -> int:
        """Tokens of the texts that the rows of the next step of `song` attend to."""
        return sum(len(row.condition.encoder_states) for row in song.trajectory.rows())

    def size(self, song: Song) -> StepSize:
        """The size of the next step of `song`."""
        rows = song.trajectory.rows()
        tokens = sum(self._transformer.tokens(row) for row in rows)
        frames = tokens * self._transformer.patch_size
        return StepSize(tokens, frames, frames - sum(len(row.latents) for row in rows))

    @torch.inference_mode()
    def finish(self, song: Song) -> FinishedSong:
        """The latents of a song that is done. Raises JobError if they are empty or not finite."""
        latents, options = song.trajectory.latents, song.options
        if not torch.isfinite(latents).all() or not latents.any():
            raise JobError("The model made no sound from this request: its output was empty or not finite.")
        if (options.latent_rescale, options.latent_shift) != (1.0, 0.0):
            latents = latents * options.latent_rescale + options.latent_shift
        trajectory = song.trajectory
        used = UsedOptions(
            trajectory.steps,
            song.guidance_scale,
            song.truncated,
            trajectory.timesteps,
            trajectory.is_corrected,
        )
        if isinstance(song.lyrics, SungLyrics):
            return FinishedSong(latents.cpu().numpy(), used, song.lyrics)
        return FinishedSong(latents.cpu().numpy(), replace(used, untimed=song.lyrics))

    @torch.inference_mode()
    def listen(self, lyrics: SungLyrics, latents: Latents) -> HeardLyrics:
        """The attention of a finished song to its lyrics, in one forward of two rows."""
        frames = len(latents)
        finished = torch.from_numpy(latents).to(self._device)
        return self._listener(lyrics, finished, lambda drawn: self._noise_source(drawn, frames)())

    @property
    def mounter(self) -> Mounter:
        """Prepares adapters for `start`. Unlike the rest of the engine it may be used on any thread."""
        return self._transformer.mounter

    @property
    def _device(self) -> torch.device:
        return self._transformer.device

    @property
    def _dtype(self) -> torch.dtype:
        return self._transformer.dtype

    def _caption_tokens(self, request: DenoiseRequest, instruction: str) -> PromptTokens:
        caption = request.caption
        if self.checkpoint.is_for_stems:
            works_on_window = not self.contexts.masks_everything(request)
            caption = stem_caption(instruction, caption, request.global_caption, works_on_window)
        return self.tokenizer(caption_prompt(instruction, caption, request.metadata), MAX_CAPTION_TOKENS)

    def _timesteps(self, request: DenoiseRequest, source: TaskContext) -> Schedule:
        return schedule(
            self.checkpoint.variant,
            request.options.inference_steps,
            self.checkpoint.shift(request.options.shift, request.options.sampling),
            request.options.timesteps,
            begin=1.0
            if source.clean is None or request.morph is not None
            else 1.0 - request.options.cover_noise_strength,
            arithmetic=ModelArithmetic(self._dtype),
            sampling=request.options.sampling,
        )

    def _beginning(
        self, request: DenoiseRequest, source: TaskContext, noise: torch.Tensor, level: float
    ) -> torch.Tensor:
        if source.clean is None or request.options.cover_noise_strength == 0:
            return noise
        return level * noise + (1.0 - level) * source.clean.float()

    def _noise_source(self, generator: torch.Generator, frames: int) -> Callable[[], torch.Tensor]:
        """Returns a function that draws noise [frames, channels], in the model's dtype like the original."""
        shape = (1, frames, self.contexts.channels)
        return lambda: torch.randn(shape, generator=generator, device=self._device, dtype=self._dtype)[
            0
        ].float()

    def _varied(self, noise: torch.Tensor, request: DenoiseRequest) -> torch.Tensor:
        """`noise` with the share of a retake's own in it. The mixture is as strong as its parts."""
        if request.retake is None:
            return noise
        generator = torch.Generator(self._device).manual_seed(request.retake.seed)
        angle = request.retake.variance * math.pi / 2
        other = self._noise_source(generator, request.frames)()
        return math.cos(angle) * noise + math.sin(angle) * other

    def _guidance(self, options: DiffusionOptions) -> Guidance | None:
        if not self.checkpoint.takes_guidance or options.guidance_scale <= 1.0:
            return None
        interval = (options.cfg_interval_start, options.cfg_interval_end)
        return Guidance(options.guidance_scale, interval, options.use_adg)

    def _correction(self, options: DiffusionOptions) -> StepCorrection | None:
        if not self.checkpoint.corrects(options.dcw_enabled, options.sampling):
            return None
        return StepCorrection(
            options.dcw_mode, options.dcw_scaler, options.dcw_high_scaler, options.dcw_wavelet
        )

    def _cover_switch(
        self,
        request: DenoiseRequest,
        source: TaskContext,
        prefix: torch.Tensor,
        tokens: int,
        steps: int,
        mount: Mount | None,
    ) -> CoverSwitch | None:
        """The step after which a cover goes on as text2music.

        The second prompt is cut to the length of the first one, like in the original.
        """
        if request.options.audio_cover_strength >= 1.0:
            return None
        if request.codes is None and request.task not in _SWITCHING_TASKS:
            return None
        caption = self._caption_tokens(request, INSTRUCTIONS[Task.TEXT2MUSIC])
        states = self._conditions.states(prefix, caption.ids[:tokens])
        return CoverSwitch(
            int(steps * request.options.audio_cover_strength),
            Condition(states, source.silent_context, mount),
        )

    def _kept_source(self, request: DenoiseRequest, source: TaskContext, steps: int) -> KeptSource | None:
        window = source.window
        if request.task is not Task.REPAINT or (window.start, window.end) == (0, request.frames):
            return None
        clean = self.contexts.silence(request.frames) if source.clean is None else source.clean
        # The original turbo loop ends before the injection of its last step.
        latest = steps - 1 if self.checkpoint.variant is Variant.TURBO else steps
        mode = request.options.repaint_mode
        injections = min(round(mode.injection_ratio * steps), latest)
        return KeptSource(clean.float(), window.start, window.end, injections, mode.crossfade_frames)

    def _renoising(
        self, request: DenoiseRequest, timesteps: Schedule, draw: Callable[[], torch.Tensor]
    ) -> Renoising | None:
        if request.options.infer_method == "ode":
            return None
        return Renoising(renoising_levels(self.checkpoint.variant, timesteps), draw)


def _control(options: DiffusionOptions) -> VelocityControl:
    return VelocityControl(options.velocity_norm_threshold, options.velocity_ema_factor)
