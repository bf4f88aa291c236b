"""The fields of `POST /v1/music/generate` with their types, defaults, units and ranges (contract §1.2).

Limits that depend on the server's settings are in `serve_app.request.capabilities`.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from configs.domain import (
    CODE_COUNT,
    INSTRUCTIONS,
    LANGUAGES,
    NEWEST_SAMPLING,
    NO_USER_INPUT,
    SamplingVersion,
    Task,
)
from configs.settings import Backend
from deployments.checkpoints.catalog import MAX_CUSTOM_TURBO_STEPS, MAX_TURBO_STEPS
from deployments.common.messages import ChunkMaskMode, CorrectionMode, InferMethod, SamplerMode, Wavelet
from serve_app.request.fields import (
    MAX_SEED,
    MAX_STEPS,
    RANDOM_SEED,
    Adapters,
    AudioCodeText,
    BatchSize,
    Bpm,
    CallbackEvents,
    CallbackUrl,
    Duration,
    Flag,
    Guidance,
    Integer,
    KeyScale,
    Language,
    Number,
    RepaintingEnd,
    RepaintModeName,
    Seeds,
    Share,
    Shift,
    Text,
    TimeSignature,
    Timesteps,
    TopK,
    Track,
    Tracks,
)

MAX_CAPTION_LENGTH = 2_048
MAX_LYRICS_LENGTH = 16_384
MAX_PATH_LENGTH = 4_096
"""Characters."""
MAX_PRIORITY = 9
MAX_START_SECONDS = 7 * 24 * 3600.0
"""The longest time that a job may be given to begin."""


class Output(StrEnum):
    """The result that a job makes. All but songs are analyses, which make no audio."""

    SONGS = "songs"
    CODES = "codes"
    """The audio codes of the source."""
    DESCRIPTION = "description"
    """The codes of the source, and the LM's description of them: caption, lyrics, language and metadata."""
    METADATA = "metadata"
    """The LM's metadata for a caption and lyrics."""

    @property
    def needs_source(self) -> bool:
        """Whether the analysis is about a recording."""
        return self in (Output.CODES, Output.DESCRIPTION)


class GenerateRequest(BaseModel):
    """A request for music. Zero is a value and never means "not given"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption: Text = Field("", max_length=MAX_CAPTION_LENGTH, description="Description of the music.")
    lyrics: Text = Field(
        "",
        max_length=MAX_LYRICS_LENGTH,
        description="Lyrics. Empty, `[inst]` or `[instrumental]` means instrumental music.",
    )
    thinking: Flag = Field(
        False,
        description="true: the 5Hz LM writes audio codes (or `audio_code_string` is used) and the music "
        "model follows them; false: the music model works from the text alone.",
    )
    vocal_language: Language = Field(
        "en",
        description=f"Language of the lyrics: {', '.join(LANGUAGES)}. A region as in `en-US` is dropped.",
    )
    audio_format: Text = Field(
        "mp3", description="File format of the songs; `GET /v1/models` lists what the server can write."
    )

    bpm: Bpm | None = Field(None, description="Tempo in beats per minute; the LM chooses where null.")
    key_scale: KeyScale = Field(
        "",
        description="Key, e.g. `C Major`, `c# minor`, `Bbm`, in one line; the LM chooses where empty. "
        "Other modes (`D dorian`) are passed on as written.",
    )
    time_signature: TimeSignature = Field(
        "",
        description="4/4, 3/4, 2/4, 6/8 (or 4, 3, 2, 6); the LM chooses where empty. Other n/d are passed on "
        "as written.",
    )
    audio_duration: Duration | None = Field(
        None, description="Length of the song in seconds, rounded to 0.1 s; the LM chooses where null."
    )

    sample_mode: Flag = Field(
        False,
        description="true: the LM writes the song's caption, lyrics, language and metadata from "
        "`sample_query`, and the job goes on with them instead of `caption` and `lyrics`. Given metadata "
        "wins.",
    )
    sample_query: Text = Field(
        "",
        max_length=MAX_CAPTION_LENGTH,
        description="A sentence about the song that the LM shall write. A text switches `sample_mode` on.",
    )
    use_format: Flag = Field(
        False,
        description="true: the LM rewrites caption and lyrics before the song is made. Given metadata wins.",
    )
    use_cot_caption: Flag = Field(
        False,
        description="true: where the LM completes metadata or writes audio codes, it also words the caption "
        "for the music model.",
    )
    use_cot_language: Flag = Field(
        False,
        description="true: where the LM is asked anyway, it also chooses the language of the lyrics, if "
        "`vocal_language` is not given or is `unknown`.",
    )
    output: Output = Field(
        Output.SONGS,
        description="songs, or an analysis without audio: `codes` are the audio codes of the source audio, "
        "`description` is what the LM hears in it, `metadata` is what the LM chooses for caption and lyrics.",
    )

    audio_code_string: AudioCodeText = Field(
        "",
        description="Audio codes, 5 a second, as `<|audio_code_N|>` runs or as N separated by commas, N from "
        f"0 to {CODE_COUNT - 1}. An array has one entry per song of the batch. Used with `thinking` only.",
    )

    inference_steps: Integer = Field(
        8,
        ge=1,
        le=MAX_STEPS,
        description=f"Denoising steps. Distilled (turbo) models run at most {MAX_TURBO_STEPS}, and were "
        "trained for 8.",
    )
    guidance_scale: Number = Field(
        7.0, ge=0, le=30, description="Guidance scale of the music model. Turbo models ignore it."
    )
    retake_variance: Number = Field(
        0.0,
        ge=0,
        le=1,
        description="Above 0, a variation of the song that `seed` makes: this share of its noise is "
        "exchanged for that of `retake_seed`. 1 exchanges all.",
    )
    retake_seed: Seeds = Field(
        (RANDOM_SEED,),
        description="Seed of the variation, in the forms of `seed`: song i uses retake_seed + i, and -1 is "
        "random.",
        json_schema_extra={"default": RANDOM_SEED},
    )
    use_random_seed: Flag = Field(True, description="true: `seed` is ignored and every song is different.")
    seed: Seeds = Field(
        (RANDOM_SEED,),
        description=f"With `use_random_seed` false, 0 to {MAX_SEED} makes the job reproducible: song i of "
        "the batch uses seed + i. -1 is random. A comma-separated list has one seed per song.",
        json_schema_extra={"default": RANDOM_SEED},
    )
    batch_size: BatchSize | None = Field(
        None, description="Songs to make; null is the server's default (`GET /v1/models`)."
    )

    model: Text | None = Field(
        None,
        description="Name of the music model (DiT) to use (`GET /v1/models`); null is the server's default. "
        "Models differ in their tasks, in their steps and in whether they take guidance.",
    )
    lm_model_path: Text | None = Field(
        None, description="Name of the 5Hz LM to use (`GET /v1/models`); null is the server's default."
    )
    lm_backend: Backend = Field("vllm", description="Engine that runs the 5Hz LM.")
    lm_temperature: Number = Field(0.85, ge=0, le=5, description="Sampling temperature; 0 is greedy.")
    lm_cfg_scale: Guidance = Field(
        2.0,
        description="Classifier-free guidance of the audio codes, on above 1; below 1 counts as 1.",
    )
    lm_guide_metadata: Flag = Field(
        False,
        description="true: guidance applies to the metadata too. The model's authors disabled this, "
        "because it distorts text.",
    )
    lm_negative_prompt: Text = Field(
        NO_USER_INPUT, max_length=2_048, description="Negative prompt of classifier-free guidance."
    )
    lm_top_k: TopK | None = Field(None, description="Sample from the k most likely tokens; 0 or null is off.")
    lm_top_p: Share = Field(
        0.9,
        description="Sample from the most likely tokens with this total probability; 1 or more is off.",
    )
    lm_repetition_penalty: Number = Field(
        1.0, ge=0.1, le=10, description="Penalty of repeated tokens; 1 is off."
    )

    reference_audio_path: Text | None = Field(
        None,
        max_length=MAX_PATH_LENGTH,
        description="Recording whose timbre and style the song follows: an absolute path inside one of "
        "the server's audio folders, or a result of this server (`/v1/audio/...`).",
    )
    src_audio_path: Text | None = Field(
        None,
        max_length=MAX_PATH_LENGTH,
        description="Recording to cover or repaint; paths as in `reference_audio_path`.",
    )
    allow_silent_source: Flag = Field(
        False,
        description="true: a silent source is accepted for cover, repaint, lego and complete. A silent "
        "source of lego is extended to `audio_duration`.",
    )
    task_type: Task = Field(
        Task.TEXT2MUSIC,
        description="cover and repaint work on source audio (cover also on audio codes); lego, extract and "
        "complete only on a `model` that can (`GET /v1/models`).",
    )
    instruction: Text = Field(
        INSTRUCTIONS[Task.TEXT2MUSIC],
        max_length=2_048,
        description="Instruction to the music model. The default is replaced by the instruction of the task.",
    )
    repainting_start: Number = Field(
        0.0,
        description="Where repainting begins, in seconds of the source; negative puts new music in front.",
    )
    repainting_end: RepaintingEnd = Field(
        None,
        description="Where repainting ends, in seconds of the source; null or -1 is its end, beyond it new "
        "music is added. With a negative start, null or -1 renews only the part in front.",
    )
    audio_cover_strength: Number = Field(
        1.0,
        ge=0,
        le=1,
        description="Fraction of the denoising steps that follow the source or the audio codes.",
    )

    shift: Shift | None = Field(
        None,
        description="Above 1 more steps are near the noise, where the structure is decided; null is the "
        "value for which the model was trained.",
    )
    timesteps: Timesteps | None = Field(
        None,
        description="A schedule that replaces `inference_steps` and `shift`: timesteps from 1 (noise) "
        f"downwards; the final 0 may be left out. Turbo models take at most {MAX_CUSTOM_TURBO_STEPS} and use "
        "the nearest ones of their training.",
    )
    sampling: SamplingVersion = Field(
        NEWEST_SAMPLING,
        description="The version of ACE-Step's sampling, by its month. 2026-01 repeats earlier songs: turbo "
        "models run their 8 trained steps and the nearest of the shifts 1, 2 and 3, base models ignore "
        "`timesteps`, and nothing is corrected unless `dcw_enabled` is true.",
    )
    infer_method: InferMethod = Field(
        "ode", description="ode follows only the model's velocities; sde adds fresh noise at every step."
    )
    sampler_mode: SamplerMode = Field(
        "euler",
        description="heun asks the model twice in each step, for the velocities at its beginning and at its "
        "end, and follows their mean; it takes twice as long. With `infer_method` sde it has no effect.",
    )
    velocity_norm_threshold: Number = Field(
        0.0,
        ge=0,
        le=100,
        description="Above 0, velocities are shortened to this multiple of the length of the latents; try "
        "2.0. 0 sets no limit.",
    )
    velocity_ema_factor: Number = Field(
        0.0,
        ge=0,
        le=0.99,
        description="The share of the step before in the velocity of each step; try 0.1. 0 is off.",
    )
    dcw_enabled: Flag | None = Field(
        None,
        description="Whether each step is corrected in the wavelet domain (DCW, arXiv 2604.16044). null is "
        "what suits the model: true for turbo models, false for the others.",
    )
    dcw_mode: CorrectionMode = Field(
        "double",
        description="The bands that are corrected: low, high, or double for both; pix corrects the latents "
        "themselves, equally strongly in all steps.",
    )
    dcw_scaler: Number = Field(
        0.05,
        ge=0,
        le=1,
        description="The strength of the correction; useful up to 0.1. Of `double` it is that of the low "
        "band.",
    )
    dcw_high_scaler: Number = Field(
        0.02, ge=0, le=1, description="The strength in the high band, for `dcw_mode` double alone."
    )
    dcw_wavelet: Wavelet = Field("haar", description="The wavelet that divides the bands.")
    latent_rescale: Number = Field(
        1.0,
        ge=0.01,
        le=10,
        description="Factor of the finished latents before they are decoded; 1 leaves them.",
    )
    latent_shift: Number = Field(
        0.0,
        ge=-10,
        le=10,
        description="A number that is added to the latents after `latent_rescale`.",
    )
    lyric_timestamps: Flag = Field(
        False,
        description="true: the result tells when each line of the lyrics is sung, as LRC text, and how well "
        "the song follows them. Only of models whose attention follows lyrics (`GET /v1/models`).",
    )
    adapters: Adapters = Field(
        (),
        description="Adapters (LoRA, DoRA, LoKr) that change the music model for this song, by the names in "
        "`GET /v1/models`; several add up. `scale` is the strength, and 0 is no adapter. In place of one, "
        "`lora_name` and `lora_scale` may be given.",
    )
    use_adg: Flag = Field(
        False,
        description="true: angle-based guidance instead of adaptive projected guidance. Turbo models use "
        "neither.",
    )
    cfg_interval_start: Number = Field(
        0.0,
        ge=0,
        le=1,
        description="Lowest timestep at which guidance applies. Denoising goes from 1 (noise) to 0.",
    )
    cfg_interval_end: Number = Field(
        1.0, ge=0, le=1, description="Highest timestep at which guidance applies."
    )
    cover_noise_strength: Number = Field(
        0.0,
        ge=0,
        le=1,
        description="Above 0 denoising begins with the source audio at a noise level of 1 - strength, so "
        "the song stays closer to it; 0 begins with pure noise.",
    )
    repaint_mode: RepaintModeName = Field(
        "balanced",
        description="In which steps a repaint restores the source outside its window: conservative in all, "
        "balanced in the first half, aggressive in none. The first two also keep the source's waveform "
        "outside the window.",
    )
    repaint_strength: Number = Field(
        0.5,
        ge=0,
        le=1,
        description="With `repaint_mode` balanced, how freely a repaint may depart from its source: 0 is "
        "conservative, 1 is aggressive.",
    )
    chunk_mask_mode: ChunkMaskMode = Field(
        "auto",
        description="The part of the song on which the model is told to work: explicit is the window alone, "
        "all is the whole song. auto is all for models for stems, except in a repaint, and else explicit.",
    )
    cover_nofsq: Flag = Field(
        False,
        description="true: a cover follows the latents of its source, and so keeps more of it; false: what "
        "the audio codes of the source say.",
    )
    global_caption: Text = Field(
        "",
        max_length=MAX_CAPTION_LENGTH,
        description="Description of the whole song beside that of the track in `caption`, for models for "
        "stems. Other models ignore it.",
    )
    track_name: Track | None = Field(
        None, description="The track that `lego` generates or `extract` isolates; null lets the model choose."
    )
    track_classes: Tracks = Field(
        (), description="The tracks that `complete` adds, as an array or separated by commas."
    )

    flow_edit_morph: Flag = Field(
        False,
        description="true: the source audio becomes the song of `caption` and `lyrics`, and keeps what these "
        "have in common with `flow_edit_source_caption` and `flow_edit_source_lyrics`. For text2music and "
        "cover; neither codes nor corrections are used.",
    )
    flow_edit_source_caption: Text = Field(
        "", max_length=MAX_CAPTION_LENGTH, description="Description of the source audio of a morph."
    )
    flow_edit_source_lyrics: Text = Field(
        "", max_length=MAX_LYRICS_LENGTH, description="Lyrics of the source audio of a morph, as in `lyrics`."
    )
    flow_edit_n_min: Number = Field(
        0.0,
        ge=0,
        le=0.99,
        description="The share of the steps that a morph leaves out, from the first on: what they decide is "
        "kept.",
    )
    flow_edit_n_max: Number = Field(
        1.0,
        ge=0,
        le=1,
        description="The share of the steps after which a morph goes away from its source.",
    )
    flow_edit_n_avg: Integer = Field(
        1,
        ge=1,
        le=8,
        description="Number of velocities that are computed in each step of a morph; the step moves along "
        "their mean.",
    )
    enable_normalization: Flag = Field(
        True,
        description="true: the peak of each song becomes `normalization_db`; false: a song is only turned "
        "down where it would clip.",
    )
    normalization_db: Number = Field(
        -1.0, ge=-60, le=0, description="The peak of each song, in dB below full scale."
    )
    fade_in_duration: Number = Field(
        0.0, ge=0, le=600, description="Seconds in which the song fades in, from silence."
    )
    fade_out_duration: Number = Field(
        0.0, ge=0, le=600, description="Seconds in which the song fades out, to silence."
    )

    embed_request: Flag = Field(
        False,
        description="true: the tags of the songs also hold the job's id, the caption and the lyrics of the "
        "request. Without it, equal requests make equal files.",
    )
    callback_url: CallbackUrl | None = Field(
        None,
        description="An http(s) URL that receives the job, in the form of a poll, at the events that "
        "`callback_events` names: by default when it has ended.",
    )
    callback_events: CallbackEvents = Field(
        ("finished",),
        description="The events of which `callback_url` is told: started, progress (at most every five "
        "seconds), finished; as an array or separated by commas.",
    )
    priority: Integer = Field(
        0,
        ge=0,
        le=MAX_PRIORITY,
        description="Jobs with a higher priority run first. Above 0 only for API keys that allow it.",
    )
    start_within_seconds: Number | None = Field(
        None,
        gt=0,
        le=MAX_START_SECONDS,
        description="The job fails if it has not begun within so many seconds; null lets it wait.",
    )
    keep_seconds: Number | None = Field(
        None,
        gt=0,
        description="Seconds after its end after which the job and its songs are deleted; null is as long as "
        "the server keeps them (`GET /v1/models`).",
    )

    @property
    def is_morph(self) -> bool:
        """Whether the source becomes the song. Other tasks than text2music and cover have no morphs."""
        is_song = self.output is Output.SONGS and self.task_type in (Task.TEXT2MUSIC, Task.COVER)
        return self.flow_edit_morph and is_song

    @field_validator("cfg_interval_end")
    @classmethod
    def _after_its_start(cls, end: float, info: ValidationInfo) -> float:
        start = info.data.get("cfg_interval_start", 0.0)
        if end < start:
            raise PydanticCustomError(
                "cfg_interval", "Input should not be below cfg_interval_start, {start}", {"start": start}
            )
        return end
