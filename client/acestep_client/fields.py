"""The fields of requests. This file is generated: python -m docs.scripts.client_types."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from acestep_client.uploads import Upload


class SongFields(TypedDict, total=False):
    """Fields of a request for songs."""

    caption: str
    """Description of the music."""
    lyrics: str
    """Lyrics. Empty, `[inst]` or `[instrumental]` means instrumental music."""
    thinking: bool
    """True: the 5Hz LM writes audio codes (or `audio_code_string` is used) and the music model follows them;
    False: the music model works from the text alone. Default: False.
    """
    vocal_language: str
    """Language of the lyrics: ar, az, bg, bn, ca, cs, da, de, el, en, es, fa, fi, fr, he, hi, hr, ht, hu, id,
    is, it, ja, ko, la, lt, ms, ne, nl, no, pa, pl, pt, ro, ru, sa, sk, sr, sv, sw, ta, te, th, tl, tr, uk,
    ur, vi, yue, zh, unknown. A region as in `en-US` is dropped. Default: en.
    """
    audio_format: str
    """File format of the songs; `GET /v1/models` lists what the server can write. Default: mp3."""
    bpm: int | None
    """Tempo in beats per minute; the LM chooses where None."""
    key_scale: str
    """Key, e.g. `C Major`, `c# minor`, `Bbm`, in one line; the LM chooses where empty. Other modes (`D
    dorian`) are passed on as written.
    """
    time_signature: str
    """4/4, 3/4, 2/4, 6/8 (or 4, 3, 2, 6); the LM chooses where empty. Other n/d are passed on as written."""
    audio_duration: float | None
    """Length of the song in seconds, rounded to 0.1 s; the LM chooses where None."""
    sample_mode: bool
    """True: the LM writes the song's caption, lyrics, language and metadata from `sample_query`, and the job
    goes on with them instead of `caption` and `lyrics`. Given metadata wins. Default: False.
    """
    sample_query: str
    """A sentence about the song that the LM shall write. A text switches `sample_mode` on."""
    use_format: bool
    """True: the LM rewrites caption and lyrics before the song is made. Given metadata wins. Default: False.
    """
    use_cot_caption: bool
    """True: where the LM completes metadata or writes audio codes, it also words the caption for the music
    model. Default: False.
    """
    use_cot_language: bool
    """True: where the LM is asked anyway, it also chooses the language of the lyrics, if `vocal_language` is
    not given or is `unknown`. Default: False.
    """
    output: Literal["songs", "codes", "description", "metadata"]
    """songs, or an analysis without audio: `codes` are the audio codes of the source audio, `description` is
    what the LM hears in it, `metadata` is what the LM chooses for caption and lyrics. Default: songs.
    """
    audio_code_string: str | Sequence[str]
    """Audio codes, 5 a second, as `<|audio_code_N|>` runs or as N separated by commas, N from 0 to 63999. An
    array has one entry per song of the batch. Used with `thinking` only.
    """
    inference_steps: int
    """Denoising steps. Distilled (turbo) models run at most 20, and were trained for 8. Default: 8."""
    guidance_scale: float
    """Guidance scale of the music model. Turbo models ignore it. Default: 7.0."""
    retake_variance: float
    """Above 0, a variation of the song that `seed` makes: this share of its noise is exchanged for that of
    `retake_seed`. 1 exchanges all. Default: 0.0.
    """
    retake_seed: int | str
    """Seed of the variation, in the forms of `seed`: song i uses retake_seed + i, and -1 is random. Default:
    -1.
    """
    use_random_seed: bool
    """True: `seed` is ignored and every song is different. Default: True."""
    seed: int | str
    """With `use_random_seed` False, 0 to 4294967295 makes the job reproducible: song i of the batch uses seed
    + i. -1 is random. A comma-separated list has one seed per song. Default: -1.
    """
    batch_size: int | None
    """Songs to make; None is the server's default (`GET /v1/models`)."""
    model: str | None
    """Name of the music model (DiT) to use (`GET /v1/models`); None is the server's default. Models differ in
    their tasks, in their steps and in whether they take guidance.
    """
    lm_model_path: str | None
    """Name of the 5Hz LM to use (`GET /v1/models`); None is the server's default."""
    lm_backend: str
    """Engine that runs the 5Hz LM. Default: vllm."""
    lm_temperature: float
    """Sampling temperature; 0 is greedy. Default: 0.85."""
    lm_cfg_scale: float
    """Classifier-free guidance of the audio codes, on above 1; below 1 counts as 1. Default: 2.0."""
    lm_guide_metadata: bool
    """True: guidance applies to the metadata too. The model's authors disabled this, because it distorts
    text. Default: False.
    """
    lm_negative_prompt: str
    """Negative prompt of classifier-free guidance. Default: NO USER INPUT."""
    lm_top_k: int | None
    """Sample from the k most likely tokens; 0 or None is off."""
    lm_top_p: float
    """Sample from the most likely tokens with this total probability; 1 or more is off. Default: 0.9."""
    lm_repetition_penalty: float
    """Penalty of repeated tokens; 1 is off. Default: 1.0."""
    reference_audio_path: str | None
    """Recording whose timbre and style the song follows: an absolute path inside one of the server's audio
    folders, or a result of this server (`/v1/audio/...`).
    """
    src_audio_path: str | None
    """Recording to cover or repaint; paths as in `reference_audio_path`."""
    allow_silent_source: bool
    """True: a silent source is accepted for cover, repaint, lego and complete. A silent source of lego is
    extended to `audio_duration`. Default: False.
    """
    task_type: Literal["text2music", "cover", "repaint", "lego", "extract", "complete"]
    """cover and repaint work on source audio (cover also on audio codes); lego, extract and complete only on
    a `model` that can (`GET /v1/models`). Default: text2music.
    """
    instruction: str
    """Instruction to the music model. The default is replaced by the instruction of the task. Default: Fill
    the audio semantic mask based on the given conditions:.
    """
    repainting_start: float
    """Where repainting begins, in seconds of the source; negative puts new music in front. Default: 0.0."""
    repainting_end: float | None
    """Where repainting ends, in seconds of the source; None or -1 is its end, beyond it new music is added.
    With a negative start, None or -1 renews only the part in front.
    """
    audio_cover_strength: float
    """Fraction of the denoising steps that follow the source or the audio codes. Default: 1.0."""
    shift: float | None
    """Above 1 more steps are near the noise, where the structure is decided; None is the value for which the
    model was trained.
    """
    timesteps: Sequence[float] | str | None
    """A schedule that replaces `inference_steps` and `shift`: timesteps from 1 (noise) downwards; the final 0
    may be left out. Turbo models take at most 20 and use the nearest ones of their training.
    """
    sampling: Literal["2026-01", "2026-08"]
    """The version of ACE-Step's sampling, by its month. 2026-01 repeats earlier songs: turbo models run their
    8 trained steps and the nearest of the shifts 1, 2 and 3, base models ignore `timesteps`, and nothing
    is corrected unless `dcw_enabled` is True. Default: 2026-08.
    """
    infer_method: Literal["ode", "sde"]
    """ode follows only the model's velocities; sde adds fresh noise at every step. Default: ode."""
    sampler_mode: Literal["euler", "heun"]
    """heun asks the model twice in each step, for the velocities at its beginning and at its end, and follows
    their mean; it takes twice as long. With `infer_method` sde it has no effect. Default: euler.
    """
    velocity_norm_threshold: float
    """Above 0, velocities are shortened to this multiple of the length of the latents; try 2.0. 0 sets no
    limit. Default: 0.0.
    """
    velocity_ema_factor: float
    """The share of the step before in the velocity of each step; try 0.1. 0 is off. Default: 0.0."""
    dcw_enabled: bool | None
    """Whether each step is corrected in the wavelet domain (DCW, arXiv 2604.16044). None is what suits the
    model: True for turbo models, False for the others.
    """
    dcw_mode: Literal["double", "low", "high", "pix"]
    """The bands that are corrected: low, high, or double for both; pix corrects the latents themselves,
    equally strongly in all steps. Default: double.
    """
    dcw_scaler: float
    """The strength of the correction; useful up to 0.1. Of `double` it is that of the low band. Default:
    0.05.
    """
    dcw_high_scaler: float
    """The strength in the high band, for `dcw_mode` double alone. Default: 0.02."""
    dcw_wavelet: Literal["haar", "db4", "sym8", "db8"]
    """The wavelet that divides the bands. Default: haar."""
    latent_rescale: float
    """Factor of the finished latents before they are decoded; 1 leaves them. Default: 1.0."""
    latent_shift: float
    """A number that is added to the latents after `latent_rescale`. Default: 0.0."""
    lyric_timestamps: bool
    """True: the result tells when each line of the lyrics is sung, as LRC text, and how well the song follows
    them. Only of models whose attention follows lyrics (`GET /v1/models`). Default: False.
    """
    adapters: Sequence[Mapping[str, Any]]
    """Adapters (LoRA, DoRA, LoKr) that change the music model for this song, by the names in `GET
    /v1/models`; several add up. `scale` is the strength, and 0 is no adapter. In place of one, `lora_name`
    and `lora_scale` may be given.
    """
    use_adg: bool
    """True: angle-based guidance instead of adaptive projected guidance. Turbo models use neither. Default:
    False.
    """
    cfg_interval_start: float
    """Lowest timestep at which guidance applies. Denoising goes from 1 (noise) to 0. Default: 0.0."""
    cfg_interval_end: float
    """Highest timestep at which guidance applies. Default: 1.0."""
    cover_noise_strength: float
    """Above 0 denoising begins with the source audio at a noise level of 1 - strength, so the song stays
    closer to it; 0 begins with pure noise. Default: 0.0.
    """
    repaint_mode: Literal["conservative", "balanced", "aggressive"]
    """In which steps a repaint restores the source outside its window: conservative in all, balanced in the
    first half, aggressive in none. The first two also keep the source's waveform outside the window.
    Default: balanced.
    """
    repaint_strength: float
    """With `repaint_mode` balanced, how freely a repaint may depart from its source: 0 is conservative, 1 is
    aggressive. Default: 0.5.
    """
    chunk_mask_mode: Literal["auto", "explicit", "all"]
    """The part of the song on which the model is told to work: explicit is the window alone, all is the whole
    song. auto is all for models for stems, except in a repaint, and else explicit. Default: auto.
    """
    cover_nofsq: bool
    """True: a cover follows the latents of its source, and so keeps more of it; False: what the audio codes
    of the source say. Default: False.
    """
    global_caption: str
    """Description of the whole song beside that of the track in `caption`, for models for stems. Other models
    ignore it.
    """
    track_name: (
        Literal[
            "woodwinds",
            "brass",
            "fx",
            "synth",
            "strings",
            "percussion",
            "keyboard",
            "guitar",
            "bass",
            "drums",
            "backing_vocals",
            "vocals",
        ]
        | None
    )
    """The track that `lego` generates or `extract` isolates; None lets the model choose."""
    track_classes: Sequence[
        Literal[
            "woodwinds",
            "brass",
            "fx",
            "synth",
            "strings",
            "percussion",
            "keyboard",
            "guitar",
            "bass",
            "drums",
            "backing_vocals",
            "vocals",
        ]
    ]
    """The tracks that `complete` adds, as an array or separated by commas."""
    flow_edit_morph: bool
    """True: the source audio becomes the song of `caption` and `lyrics`, and keeps what these have in common
    with `flow_edit_source_caption` and `flow_edit_source_lyrics`. For text2music and cover; neither codes
    nor corrections are used. Default: False.
    """
    flow_edit_source_caption: str
    """Description of the source audio of a morph."""
    flow_edit_source_lyrics: str
    """Lyrics of the source audio of a morph, as in `lyrics`."""
    flow_edit_n_min: float
    """The share of the steps that a morph leaves out, from the first on: what they decide is kept. Default:
    0.0.
    """
    flow_edit_n_max: float
    """The share of the steps after which a morph goes away from its source. Default: 1.0."""
    flow_edit_n_avg: int
    """Number of velocities that are computed in each step of a morph; the step moves along their mean.
    Default: 1.
    """
    enable_normalization: bool
    """True: the peak of each song becomes `normalization_db`; False: a song is only turned down where it
    would clip. Default: True.
    """
    normalization_db: float
    """The peak of each song, in dB below full scale. Default: -1.0."""
    fade_in_duration: float
    """Seconds in which the song fades in, from silence. Default: 0.0."""
    fade_out_duration: float
    """Seconds in which the song fades out, to silence. Default: 0.0."""
    embed_request: bool
    """True: the tags of the songs also hold the job's id, the caption and the lyrics of the request. Without
    it, equal requests make equal files. Default: False.
    """
    callback_url: str | None
    """An http(s) URL that receives the job, in the form of a poll, at the events that `callback_events`
    names: by default when it has ended.
    """
    callback_events: Sequence[Literal["started", "progress", "finished"]] | str
    """The events of which `callback_url` is told: started, progress (at most every five seconds), finished;
    as an array or separated by commas.
    """
    priority: int
    """Jobs with a higher priority run first. Above 0 only for API keys that allow it. Default: 0."""
    start_within_seconds: float | None
    """The job fails if it has not begun within so many seconds; None lets it wait."""
    keep_seconds: float | None
    """Seconds after its end after which the job and its songs are deleted; None is as long as the server
    keeps them (`GET /v1/models`).
    """
    src_audio: Upload
    """A recording; it takes precedence over `src_audio_path`."""
    reference_audio: Upload
    """A recording; it takes precedence over `reference_audio_path`."""


class SampleFields(TypedDict, total=False):
    """Fields of a request for a song as text, beside `query`."""

    query: str
    """A sentence about the song; empty lets the LM choose."""
    instrumental: bool
    """True: the song has no lyrics. Default: False."""
    vocal_language: str
    """Language of the lyrics: ar, az, bg, bn, ca, cs, da, de, el, en, es, fa, fi, fr, he, hi, hr, ht, hu, id,
    is, it, ja, ko, la, lt, ms, ne, nl, no, pa, pl, pt, ro, ru, sa, sk, sr, sv, sw, ta, te, th, tl, tr, uk,
    ur, vi, yue, zh, unknown. A region as in `en-US` is dropped. Default: en.
    """
    bpm: int | None
    """Tempo in beats per minute; the LM chooses where None."""
    key_scale: str
    """Key, e.g. `C Major`, `c# minor`, `Bbm`, in one line; the LM chooses where empty. Other modes (`D
    dorian`) are passed on as written.
    """
    time_signature: str
    """4/4, 3/4, 2/4, 6/8 (or 4, 3, 2, 6); the LM chooses where empty. Other n/d are passed on as written."""
    audio_duration: float | None
    """Length of the song in seconds, rounded to 0.1 s; the LM chooses where None."""
    lm_model_path: str | None
    """Name of the 5Hz LM to use (`GET /v1/models`); None is the server's default."""
    lm_backend: str
    """Engine that runs the 5Hz LM. Default: vllm."""
    lm_temperature: float
    """Sampling temperature; 0 is greedy. Default: 0.85."""
    lm_top_k: int | None
    """Sample from the k most likely tokens; 0 or None is off."""
    lm_top_p: float
    """Sample from the most likely tokens with this total probability; 1 or more is off. Default: 0.9."""
    lm_repetition_penalty: float
    """Penalty of repeated tokens; 1 is off. Default: 1.0."""
    use_random_seed: bool
    """True: `seed` is ignored and every song is different. Default: True."""
    seed: int | str
    """With `use_random_seed` False, 0 to 4294967295 makes the job reproducible: song i of the batch uses seed
    + i. -1 is random. A comma-separated list has one seed per song. Default: -1.
    """


class FormatFields(TypedDict, total=False):
    """Fields of a request for words that are rewritten."""

    caption: str
    """Description of the music."""
    lyrics: str
    """Lyrics. Empty, `[inst]` or `[instrumental]` means instrumental music."""
    vocal_language: str
    """Language of the lyrics: ar, az, bg, bn, ca, cs, da, de, el, en, es, fa, fi, fr, he, hi, hr, ht, hu, id,
    is, it, ja, ko, la, lt, ms, ne, nl, no, pa, pl, pt, ro, ru, sa, sk, sr, sv, sw, ta, te, th, tl, tr, uk,
    ur, vi, yue, zh, unknown. A region as in `en-US` is dropped. Default: en.
    """
    bpm: int | None
    """Tempo in beats per minute; the LM chooses where None."""
    key_scale: str
    """Key, e.g. `C Major`, `c# minor`, `Bbm`, in one line; the LM chooses where empty. Other modes (`D
    dorian`) are passed on as written.
    """
    time_signature: str
    """4/4, 3/4, 2/4, 6/8 (or 4, 3, 2, 6); the LM chooses where empty. Other n/d are passed on as written."""
    audio_duration: float | None
    """Length of the song in seconds, rounded to 0.1 s; the LM chooses where None."""
    lm_model_path: str | None
    """Name of the 5Hz LM to use (`GET /v1/models`); None is the server's default."""
    lm_backend: str
    """Engine that runs the 5Hz LM. Default: vllm."""
    lm_temperature: float
    """Sampling temperature; 0 is greedy. Default: 0.85."""
    lm_top_k: int | None
    """Sample from the k most likely tokens; 0 or None is off."""
    lm_top_p: float
    """Sample from the most likely tokens with this total probability; 1 or more is off. Default: 0.9."""
    lm_repetition_penalty: float
    """Penalty of repeated tokens; 1 is off. Default: 1.0."""
    use_random_seed: bool
    """True: `seed` is ignored and every song is different. Default: True."""
    seed: int | str
    """With `use_random_seed` False, 0 to 4294967295 makes the job reproducible: song i of the batch uses seed
    + i. -1 is random. A comma-separated list has one seed per song. Default: -1.
    """


class UnderstandFields(TypedDict, total=False):
    """Fields of a request for the description of a recording."""

    src_audio_path: str | None
    """Recording to cover or repaint; paths as in `reference_audio_path`."""
    vocal_language: str
    """Language of the lyrics: ar, az, bg, bn, ca, cs, da, de, el, en, es, fa, fi, fr, he, hi, hr, ht, hu, id,
    is, it, ja, ko, la, lt, ms, ne, nl, no, pa, pl, pt, ro, ru, sa, sk, sr, sv, sw, ta, te, th, tl, tr, uk,
    ur, vi, yue, zh, unknown. A region as in `en-US` is dropped. Default: en.
    """
    bpm: int | None
    """Tempo in beats per minute; the LM chooses where None."""
    key_scale: str
    """Key, e.g. `C Major`, `c# minor`, `Bbm`, in one line; the LM chooses where empty. Other modes (`D
    dorian`) are passed on as written.
    """
    time_signature: str
    """4/4, 3/4, 2/4, 6/8 (or 4, 3, 2, 6); the LM chooses where empty. Other n/d are passed on as written."""
    lm_model_path: str | None
    """Name of the 5Hz LM to use (`GET /v1/models`); None is the server's default."""
    lm_backend: str
    """Engine that runs the 5Hz LM. Default: vllm."""
    lm_temperature: float
    """Sampling temperature; 0 is greedy. Default: 0.85."""
    lm_top_k: int | None
    """Sample from the k most likely tokens; 0 or None is off."""
    lm_top_p: float
    """Sample from the most likely tokens with this total probability; 1 or more is off. Default: 0.9."""
    lm_repetition_penalty: float
    """Penalty of repeated tokens; 1 is off. Default: 1.0."""
    use_random_seed: bool
    """True: `seed` is ignored and every song is different. Default: True."""
    seed: int | str
    """With `use_random_seed` False, 0 to 4294967295 makes the job reproducible: song i of the batch uses seed
    + i. -1 is random. A comma-separated list has one seed per song. Default: -1.
    """
    callback_url: str | None
    """An http(s) URL that receives the job, in the form of a poll, at the events that `callback_events`
    names: by default when it has ended.
    """
    callback_events: Sequence[Literal["started", "progress", "finished"]] | str
    """The events of which `callback_url` is told: started, progress (at most every five seconds), finished;
    as an array or separated by commas.
    """
    priority: int
    """Jobs with a higher priority run first. Above 0 only for API keys that allow it. Default: 0."""
    start_within_seconds: float | None
    """The job fails if it has not begun within so many seconds; None lets it wait."""
    keep_seconds: float | None
    """Seconds after its end after which the job and its songs are deleted; None is as long as the server
    keeps them (`GET /v1/models`).
    """
    src_audio: Upload
    """A recording; it takes precedence over `src_audio_path`."""
