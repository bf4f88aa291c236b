"""Requests and answers between the pipeline and the model deployments.

They are frozen dataclasses without torch. Latents travel as references (`latents_store`), so that they go
from the replica that made them straight to the one that reads them. `compose` and `decode` answer with a
stream: any number of `Progress`, then one result. `denoise` takes all items of a job at once and answers with
one stream for all, in pairs (item, progress or result).
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from configs.domain import NEWEST_SAMPLING, NO_USER_INPUT, SamplingVersion, Task
from deployments.common.latents_store import LatentsRef
from deployments.common.marks import Marks

Stage = Literal["planning", "composing", "denoising", "decoding", "encoding"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""The stages in the order in which a job passes them."""

InferMethod = Literal["ode", "sde"]
"""How the DiT goes from noise to music: `ode` follows the velocities alone, `sde` adds noise at each step."""

SamplerMode = Literal["euler", "heun"]
"""How a step of `ode` follows the velocities: `heun` averages the one at its beginning and one at its end."""

CorrectionMode = Literal["double", "low", "high", "pix"]
"""The bands of a wavelet transform that are corrected after each step; `pix` stands for no transform."""

Wavelet = Literal["haar", "db4", "sym8", "db8"]
"""The wavelets that the original offers, by their names in PyWavelets."""


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of work (codes, steps, tiles, samples) in one stage of one item."""

    stage: Stage
    done: int
    total: int


@dataclass(frozen=True)
class Origin:
    """The job that a request belongs to, for logs and traces. It does not change the answer."""

    job_id: str = ""
    traceparent: str | None = None
    """W3C trace context of the calling span; None if the job is not traced."""


@dataclass(frozen=True)
class Sampling:
    """How the LM draws tokens.

    `temperature` 0 is greedy; `top_k` 0, `top_p` 1, `repetition_penalty` 1 and `cfg_scale` 1 turn these off.
    """

    seed: int
    temperature: float = 0.85
    top_k: int = 0
    top_p: float = 0.9
    repetition_penalty: float = 1.0
    cfg_scale: float = 1.0
    negative_prompt: str = NO_USER_INPUT


@dataclass(frozen=True)
class Metadata:
    """Metadata of a song, as the user or the LM wrote it; None is unknown."""

    bpm: int | None = None
    key_scale: str | None = None
    time_signature: str | None = None
    duration: float | None = None
    """Seconds."""
    caption: str | None = None
    """The LM's wording of the caption, where it was asked for one."""
    language: str | None = None
    """Language of the lyrics, where the LM was asked for it."""
    genres: str | None = None
    """Genres, which the LM may name when it describes a song."""


@dataclass(frozen=True)
class PlanRequest:
    """Asks the LM for the metadata that is None in `given`, and only for that.

    If `wants_duration` is False (the source or given codes decide the duration), the LM writes none and the
    answer has the duration of `given`. Caption and language are wishes: a checkpoint that was not trained for
    them writes neither.
    """

    caption: str
    lyrics: str
    language: str
    given: Metadata
    wants_duration: bool
    max_duration: int
    """Seconds; the longest duration that the LM may choose."""
    sampling: Sampling
    backend: str = "vllm"
    origin: Origin = Origin()
    wants_caption: bool = False
    """Whether the LM words the caption anew."""
    wants_language: bool = False
    """Whether the LM chooses the language of the lyrics; `language` is not used then."""
    is_urgent: bool = False
    """Whether a client waits for the answer, so that it goes before the work of jobs."""


@dataclass(frozen=True)
class Inspiration:
    """A sentence from which the LM writes a whole song."""

    query: str
    instrumental: bool


@dataclass(frozen=True)
class SongTexts:
    """A caption and lyrics, which the LM rewrites where they are the subject of a description."""

    caption: str
    lyrics: str


@dataclass(frozen=True)
class HeardCodes:
    """Audio codes of a recording, in which the LM hears a song."""

    codes: tuple[int, ...]


Subject = Inspiration | SongTexts | HeardCodes
"""The things that the LM can describe."""


@dataclass(frozen=True)
class DescribeRequest:
    """Asks the LM to describe a whole song: caption, lyrics, language, genres and all metadata."""

    subject: Subject
    given: Metadata
    """Metadata that the description keeps; the LM writes the rest."""
    language: str | None
    """Language that the description keeps; None leaves it to the LM."""
    max_duration: int
    """Seconds; the longest duration that the LM may choose."""
    max_tokens: int
    """Tokens of the whole answer; lyrics that do not fit are cut off."""
    wants_lyrics: bool
    """Whether the LM writes lyrics behind the metadata."""
    sampling: Sampling
    backend: str = "vllm"
    origin: Origin = Origin()
    is_urgent: bool = False
    """As in the PlanRequest."""
    max_seconds: float | None = None
    """Time after which the rest of the lyrics is cut off; None is no limit."""


@dataclass(frozen=True)
class SongDescription:
    """The LM's description of a song."""

    metadata: Metadata
    """All of it, with caption and language."""
    lyrics: str
    """Empty where none were wanted."""


@dataclass(frozen=True)
class ComposeRequest:
    """Asks the LM for exactly `code_count` audio codes of one item."""

    caption: str
    lyrics: str
    metadata: Metadata
    code_count: int
    sampling: Sampling
    backend: str = "vllm"
    language: str | None = None
    """Language of the lyrics, as in the PlanRequest; None leaves it out of the LM's prompt."""
    origin: Origin = Origin()


@dataclass(frozen=True)
class AudioCodes:
    """The result of `compose`: codes from 0 to 63,999, 5 per second."""

    codes: tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """The part of a source that a task renews, in latent frames from `start` up to `end`, exclusive."""

    start: int
    end: int


@dataclass(frozen=True)
class RepaintMode:
    """How closely a repaint keeps the source outside its window."""

    injection_ratio: float
    """Fraction of the steps, from the first on, after which the noised source is restored outside the
    window."""
    crossfade_frames: int
    """Latent frames outside each edge over which the result fades into the source; 0 turns the fade off."""
    splice_seconds: float | None
    """Crossfade into the source's own waveform outside the window; None keeps the decoded waveform there."""


ChunkMaskMode = Literal["auto", "explicit", "all"]
"""The part of the song on which the DiT is told to work: all of it, or the window alone (`explicit`).

`auto` is the whole song for models for stems, except in a repaint, and the window for other models.
"""

REPAINT_MODES = {
    "conservative": RepaintMode(1.0, 25, 0.05),
    "balanced": RepaintMode(0.5, 12, 0.025),
    "aggressive": RepaintMode(0.0, 0, None),
}


@dataclass(frozen=True)
class DiffusionOptions:
    """How the DiT denoises. The fields have the names that they have in a request to the HTTP API."""

    inference_steps: int = 8
    guidance_scale: float = 7.0
    audio_cover_strength: float = 1.0
    shift: float | None = None
    """Warps the schedule towards noise; None is what the checkpoint was trained for."""
    timesteps: tuple[float, ...] | None = None
    """A schedule of the user's own, from 1 downwards; turbo checkpoints run the nearest of their training."""
    sampling: SamplingVersion = NEWEST_SAMPLING
    infer_method: InferMethod = "ode"
    sampler_mode: SamplerMode = "euler"
    """It has no effect with `sde`."""
    velocity_norm_threshold: float = 0.0
    """Above 0 no velocity is longer than this multiple of the latents."""
    velocity_ema_factor: float = 0.0
    """The share of the velocity of the step before in that of each step."""
    dcw_enabled: bool | None = None
    """Whether each step is corrected in the wavelet domain; None is what suits the checkpoint."""
    dcw_mode: CorrectionMode = "double"
    dcw_scaler: float = 0.05
    dcw_high_scaler: float = 0.02
    """The strength of the correction of the high band in the mode `double`."""
    dcw_wavelet: Wavelet = "haar"
    latent_rescale: float = 1.0
    latent_shift: float = 0.0
    """The finished latents become latents × `latent_rescale` + `latent_shift`."""
    lyric_timestamps: bool = False
    """Whether the finished song's attention tells when each line of its lyrics is sung."""
    use_adg: bool = False
    """Angle-based guidance instead of the default adaptive projected guidance."""
    cfg_interval_start: float = 0.0
    cfg_interval_end: float = 1.0
    """Guidance acts at timesteps inside [start, end]; 1 is pure noise, where denoising begins."""
    cover_noise_strength: float = 0.0
    """Above 0 the source itself, noised to 1 - strength, is where denoising begins."""
    repaint_mode: RepaintMode = REPAINT_MODES["balanced"]
    chunk_mask_mode: ChunkMaskMode = "auto"
    cover_nofsq: bool = False
    """Whether a cover follows the latents of its source, and not what the source's codes say of them."""


@dataclass(frozen=True)
class Retake:
    """A variation of a song: part of its noise is exchanged for other noise."""

    seed: int
    """The seed of the other noise."""
    variance: float
    """How much is exchanged: 0 is nothing, 1 is all."""


@dataclass(frozen=True)
class Morph:
    """A clip, which is the source of the job, becomes the song of the request."""

    caption: str
    """The words of the clip, as in `lyrics`."""
    lyrics: str
    first_share: float = 0.0
    """The share of the steps that is left out; the song keeps what they decide of the clip."""
    end_share: float = 1.0
    """The share of the steps after which the song goes its own way."""
    draws: int = 1
    """Velocities that are computed in each step; the step moves along their mean."""


@dataclass(frozen=True)
class AdapterUse:
    """An adapter that changes the DiT for a song."""

    name: str
    scale: float = 1.0
    """The factor of its change."""


@dataclass(frozen=True)
class UsedAdapter:
    """An adapter with which an item was made."""

    name: str
    scale: float
    identity: str
    """SHA-256 of its numbers: two adapters of one name differ in it."""
    warnings: tuple[str, ...] = ()
    """Sentences about its file."""


@dataclass(frozen=True)
class DenoiseRequest:
    """Asks the DiT to denoise one item.

    `codes` takes precedence over the source of the job's `RecordingRefs`. Codes and sources shorter than
    `frames` are padded with silence latents, longer ones cropped.
    """

    task: Task
    instruction: str
    caption: str
    lyrics: str
    language: str
    metadata: Metadata
    """The metadata for the DiT's prompt; its duration is that of the whole song."""
    frames: int
    seed: int
    retake: Retake | None = None
    morph: Morph | None = None
    codes: tuple[int, ...] | None = None
    window: Window | None = None
    global_caption: str = ""
    """Description of the whole song beside that of the track, for checkpoints for stems."""
    options: DiffusionOptions = DiffusionOptions()
    adapters: tuple[AdapterUse, ...] = ()
    """They add up. All items of a job have the same."""
    origin: Origin = Origin()


@dataclass(frozen=True)
class RecordingRefs:
    """The latents of a job's recordings, which all its items share; None stands for silence."""

    source: LatentsRef | None = None
    """[frames, channels]"""
    reference: LatentsRef | None = None
    """[750, channels] of the timbre reference."""


Untimed = Literal["model", "instrumental", "memory"]
"""Why a song's lyrics have no times: the model has no heads that follow lyrics, nothing is sung, or the
attention did not fit into memory."""


@dataclass(frozen=True)
class UsedOptions:
    """How the DiT really denoised an item."""

    steps: int
    guidance_scale: float | None
    """None if the model takes no guidance (distilled checkpoints)."""
    truncated: tuple[str, ...] = ()
    """Texts cut to the DiT's token limits: any of "caption", "lyrics"."""
    timesteps: tuple[float, ...] = ()
    """The schedule, without its final 0."""
    is_corrected: bool = False
    """Whether the steps were corrected in the wavelet domain."""
    untimed: Untimed | None = None
    """Why there are no lyric timestamps, where they were asked for."""
    adapters: tuple[UsedAdapter, ...] = ()


@dataclass(frozen=True)
class TimedText:
    """A piece of the lyrics, and when it is sung: its first and its last moment in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class TimedLyrics:
    """When the lyrics of a song are sung, as the model's attention shows it."""

    lines: tuple[TimedText, ...]
    """The lines with their section tags; empty lines are left out."""
    tokens: tuple[TimedText, ...]
    """The tokens of the text encoder, which are words or parts of them."""
    lrc: str
    """The lines in the LRC format."""
    score: float
    """How well the song follows the lyrics, from 0 to 1."""
    condition_score: float
    """The same of pure noise: how well the lyrics align before there is any music."""


@dataclass(frozen=True)
class DenoisedLatents:
    """The result of `denoise` for one item."""

    latents: LatentsRef
    """[frames, channels]"""
    used: UsedOptions
    timed_lyrics: TimedLyrics | None = None
    """None unless the request asked for them and the model could find them."""


@dataclass(frozen=True)
class EncodeRequest:
    """Asks the codec for the latents of a stored recording.

    A source is padded with silence on both sides (out-painting) and encoded whole. A reference is cut to 30 s
    (750 frames): three pieces of 10 s chosen by `seed`.
    """

    uri: str
    purpose: Literal["source", "reference"]
    seed: int = 0
    pad_left: float = 0.0
    """Seconds."""
    pad_right: float = 0.0
    """Seconds."""
    renewed: tuple[float, float] | None = None
    """Start and end of the part that a repaint renews, in seconds of the padded source. A source that is
    quiet around this part is turned up, because the DiT makes music as loud as released songs."""
    origin: Origin = Origin()


@dataclass(frozen=True)
class EncodedAudio:
    """The result of `encode`. `latents` is None if the recording is silent; the DiT then gets none."""

    latents: LatentsRef | None
    gain: float = 1.0
    """The factor by which the source's samples were multiplied."""


@dataclass(frozen=True)
class TokenizeRequest:
    """Asks the Generator for the audio codes of a recording's latents."""

    latents: LatentsRef
    window: Window | None = None
    """The part to tokenize, which may end after the recording; None is all of it."""
    origin: Origin = Origin()


@dataclass(frozen=True)
class Splice:
    """How to keep the source outside the repainted window, sample for sample (contract §1.4).

    Times are in seconds; `start` and `end` are positions in the padded source.
    """

    uri: str
    start: float
    end: float
    pad_left: float = 0.0
    pad_right: float = 0.0
    crossfade: float = 0.025
    gain: float = 1.0
    """The factor by which the source was multiplied before encoding; the new part is divided by it."""


@dataclass(frozen=True)
class Finish:
    """The level and the ends of a finished song."""

    peak_db: float | None = -1.0
    """The peak in dB below full scale. None leaves the level, unless the song would clip."""
    fade_in: float = 0.0
    """Seconds, as in `fade_out`; 0 is no fade."""
    fade_out: float = 0.0


@dataclass(frozen=True)
class DecodeRequest:
    """Asks the codec to decode the latents of one item into an audio file at `uri`."""

    latents: LatentsRef
    seconds: float
    """The file has exactly round(48,000 × seconds) samples per channel."""
    audio_format: str
    uri: str
    splice: Splice | None = None
    finish: Finish = Finish()
    marks: Marks | None = None
    """How the song was made, for the marks in the file; None is a file without marks."""
    origin: Origin = Origin()


@dataclass(frozen=True)
class AudioFile:
    """The result of `decode`: a finished file in the audio storage."""

    uri: str
    byte_count: int
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds spent decoding and encoding, by stage name."""
    sha256: str | None = None
    """The digest of the whole file, as hexadecimal digits; None if it was not computed."""
    kinds: tuple[str, ...] = ()
    """The kinds of marks in the file, such as "ID3", "XMP" and "C2PA"."""
