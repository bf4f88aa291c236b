"""The `result` object of a finished job, which polls return."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from configs.domain import EARLIER_SAMPLING, Task, code_token
from configs.settings import Settings
from deployments.checkpoints.catalog import MAX_TURBO_STEPS, DiTCheckpoint, Variant, dit_checkpoint
from deployments.common.audio_formats import extension
from deployments.common.marks import COMPOSITE, GENERATED, Asked, Marks, generator
from deployments.common.messages import AudioFile, TimedLyrics, Untimed, UsedAdapter, UsedOptions
from serve_app.jobs.model import PROVENANCE, Job
from serve_app.request.planning import dit_model, language_model, words_for_dit
from serve_app.request.schemas import GenerateRequest, Output
from serve_app.request.song_plan import SongPlan, SongWords

SUCCESS = "✅ Generation completed successfully!"
ANALYSED = "✅ Analysis completed successfully!"
UNTIMED: Mapping[Untimed, str] = {
    "model": "lyric_timestamps was ignored: {dit} has no attention that follows lyrics.",
    "instrumental": "lyric_timestamps was ignored: nothing is sung.",
    "memory": "Lyric timestamps are missing: the song and its lyrics are too long for the memory of the "
    "server's model.",
}
"""Notes on songs whose lyrics have no times."""


@dataclass(frozen=True)
class FinishedJob:
    """The result of a job and its files, which `Lease.finish` publishes."""

    result: dict[str, Any]
    files: tuple[str, ...]
    file_bytes: int


def job_result(
    job: Job,
    song: SongPlan,
    codes: list[tuple[int, ...] | None],
    used: list[UsedOptions],
    files: list[AudioFile],
    marks: list[Marks],
    timings: dict[str, float],
    settings: Settings,
    timed: Sequence[TimedLyrics | None] = (),
) -> dict[str, Any]:
    """The result object of the contract (§2) and the provenance of each song, as plain JSON values.

    `timed` is the times of each song's lyrics, where they were asked for.
    """
    request = job.spec.request
    seeds = ", ".join(map(str, job.spec.seeds))
    suffix = extension(request.audio_format)
    paths = [f"/v1/audio/{job.job_id}/{item}.{suffix}" for item in range(len(files))]
    return {
        "first_audio_path": paths[0],
        "second_audio_path": paths[1] if len(paths) > 1 else None,
        "audio_paths": paths,
        "generation_info": _generation_info(job, used[0], timings, settings, seeds),
        "status_message": " ".join([SUCCESS, *_notes(job, song, used, settings)]),
        "seed_value": seeds,
        **_facts(request, song, words_for_dit(request, song)),
        "lm_model": marks[0].lm_model,
        "dit_model": dit_model(job.spec, settings.models),
        "audio_codes": [None if run is None else _written(run) for run in codes],
        "timings": _rounded(timings),
        "sampling": request.sampling,
        "lyric_timestamps": list(map(_plain, timed)) if request.lyric_timestamps else None,
        "adapters": [
            {"name": each.name, "scale": each.scale, "sha256": each.identity} for each in used[0].adapters
        ],
        PROVENANCE: list(map(_provenance, marks, files)),
    }


def analysis_result(
    job: Job,
    song: SongPlan,
    codes: tuple[int, ...] | None,
    timings: dict[str, float],
    settings: Settings,
) -> dict[str, Any]:
    """The result object of a job without audio: the same keys, with what was found out and nothing else.

    `codes` are those of the source; None where there is no source.
    """
    request = job.spec.request
    lm = language_model(request, settings.models)
    is_worded = song.lm_answered or request.output is Output.METADATA
    seconds = ", ".join(f"{stage} {spent:.2f}" for stage, spent in timings.items())
    return {
        "first_audio_path": None,
        "second_audio_path": None,
        "audio_paths": [],
        "generation_info": f"LM: {lm}; Seconds: {seconds}",
        "status_message": " ".join([ANALYSED, *job.spec.notes, *song.notes]),
        "seed_value": ", ".join(map(str, job.spec.seeds)),
        **_facts(request, song, words_for_dit(request, song) if is_worded else None),
        "lm_model": lm if song.lm_answered else None,
        "dit_model": None if codes is None else dit_model(job.spec, settings.models),
        "audio_codes": [None if codes is None else _written(codes)],
        "timings": _rounded(timings),
        "sampling": None,
        "lyric_timestamps": None,
        "adapters": [],
        PROVENANCE: [],
    }


def _facts(request: GenerateRequest, song: SongPlan, words: SongWords | None) -> dict[str, Any]:
    """The musical facts, and `metas` with them and the words: None where they are not known."""
    facts = {
        "bpm": song.metadata.bpm,
        "duration": song.durations[0],
        "genres": song.metadata.genres,
        "keyscale": song.metadata.key_scale,
        "timesignature": song.metadata.time_signature,
    }
    metas = {
        **facts,
        "caption": words.caption if words else None,
        "lyrics": words.lyrics if words else None,
        "language": words.language if words else None,
        "requested_caption": request.caption,
        "requested_lyrics": request.lyrics,
        "output": request.output.value,
    }
    return {**facts, "metas": metas}


def _plain(timed: TimedLyrics | None) -> dict[str, Any] | None:
    return None if timed is None else asdict(timed)


def _written(codes: tuple[int, ...]) -> str:
    return "".join(map(code_token, codes))


def _rounded(timings: dict[str, float]) -> dict[str, float]:
    return {stage: round(seconds, 3) for stage, seconds in timings.items()}


def song_marks(
    job: Job,
    song: SongPlan,
    codes: list[tuple[int, ...] | None],
    adapters: Sequence[UsedAdapter],
    settings: Settings,
) -> list[Marks]:
    """The marks of each item's file. All items have the same adapters."""
    request = job.spec.request
    has_answer = song.lm_answered or _composed(job, codes)
    prompt = request.caption or request.sample_query
    return [
        Marks(
            dit_model=dit_model(job.spec, settings.models),
            lm_model=language_model(request, settings.models) if has_answer else None,
            seed=seed,
            # A repaint goes on with the sound of its source around the window.
            source_type=COMPOSITE if song.task is Task.REPAINT else GENERATED,
            adapters=tuple((each.name, each.scale) for each in adapters),
            asked=Asked(job.job_id, prompt, request.lyrics) if request.embed_request else None,
        )
        for seed in job.spec.seeds
    ]


def _provenance(marks: Marks, file: AudioFile) -> dict[str, Any]:
    """The record of how one song was made, for `GET /v1/audio/.../provenance`."""
    return {
        "generator": generator(),
        "dit_model": marks.dit_model,
        "lm_model": marks.lm_model,
        "seed": marks.seed,
        "digital_source_type": marks.source_type_uri,
        "marks": list(file.kinds),
        "sha256": file.sha256,
    }


def _composed(job: Job, codes: list[tuple[int, ...] | None]) -> bool:
    return not job.spec.codes and any(run is not None for run in codes)


def _generation_info(
    job: Job, used: UsedOptions, timings: dict[str, float], settings: Settings, seeds: str
) -> str:
    request = job.spec.request
    dit = dit_checkpoint(dit_model(job.spec, settings.models), settings.models.folder)
    parts = [
        f"Steps: {used.steps}, Scale: {request.guidance_scale}, Seeds: {seeds}",
        f"{_schedule(request, used, dit)}, Method: {request.infer_method}",
        f"Sampling: {request.sampling}, " + ", ".join(_sampler(job, used)),
        *_changed_steps(request, dit),
        *_adapters(used),
    ]
    if job.spec.source and request.cover_noise_strength > 0 and not request.is_morph:
        parts.append(f"The source under noise took the place of the first steps: {used.steps} were left")
    if used.guidance_scale is None:
        parts.append(f"{dit.name} is distilled and takes no guidance: Scale has no effect")
    parts.append(f"DiT: {dit.name}, LM: {language_model(request, settings.models)}")
    parts.append("Seconds: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in timings.items()))
    return "; ".join(parts)


def _schedule(request: GenerateRequest, used: UsedOptions, dit: DiTCheckpoint) -> str:
    if request.timesteps is None or not dit.takes_timesteps(request.sampling):
        return f"Shift: {dit.shift(request.shift, request.sampling)}"
    return "Timesteps: " + " ".join(f"{t:.4g}" for t in used.timesteps)


def _adapters(used: UsedOptions) -> Iterator[str]:
    """The adapters with their scales, and the beginnings of their digests."""
    if used.adapters:
        named = (f"{each.name} × {each.scale:g} ({each.identity[:8]})" for each in used.adapters)
        yield f"Adapters: {', '.join(named)}"


def _changed_steps(request: GenerateRequest, dit: DiTCheckpoint) -> Iterator[str]:
    """A sentence where a distilled model ran another number of steps than was asked for."""
    if dit.variant is not Variant.TURBO or request.timesteps is not None:
        return
    asked = request.inference_steps
    if request.sampling == EARLIER_SAMPLING and asked != dit.default_steps:
        yield f"{dit.name} is distilled and ran its trained {dit.default_steps} steps instead of {asked}"
    elif request.sampling != EARLIER_SAMPLING and asked > MAX_TURBO_STEPS:
        yield f"{dit.name} is distilled and ran {MAX_TURBO_STEPS} steps, its most, instead of {asked}"


def _sampler(job: Job, used: UsedOptions) -> Iterator[str]:
    """The correction, and the options of the sampler and of the finished latents that were used."""
    request = job.spec.request
    yield f"DCW: {_correction(request)}" if used.is_corrected else "DCW: off"
    if request.sampler_mode != "euler" and request.infer_method == "ode":
        yield f"Sampler: {request.sampler_mode}"
    if request.velocity_norm_threshold > 0:
        yield f"Velocity norm: {request.velocity_norm_threshold:g}"
    if request.velocity_ema_factor > 0:
        yield f"Velocity EMA: {request.velocity_ema_factor:g}"
    if (request.latent_rescale, request.latent_shift) != (1.0, 0.0):
        yield f"Latents: × {request.latent_rescale:g} + {request.latent_shift:g}"
    if job.spec.source and request.is_morph:
        yield (
            f"Morph: {request.flow_edit_n_min:g} to {request.flow_edit_n_max:g}, "
            f"{request.flow_edit_n_avg} forwards a step"
        )
    if job.spec.retake_seeds:
        seeds = " ".join(map(str, job.spec.retake_seeds))
        yield f"Retake: {request.retake_variance:g} of seeds {seeds}"


def _correction(request: GenerateRequest) -> str:
    words = [request.dcw_mode, f"{request.dcw_scaler:g}"]
    if request.dcw_mode == "double":
        words.append(f"{request.dcw_high_scaler:g}")
    return " ".join(words if request.dcw_mode == "pix" else [*words, request.dcw_wavelet])


def _notes(job: Job, song: SongPlan, used: list[UsedOptions], settings: Settings) -> list[str]:
    cut = sorted({text for item in used for text in item.truncated})
    notes = [*job.spec.notes, *song.notes]
    for adapter in used[0].adapters:
        notes += [f"{adapter.name}: {warning}" for warning in adapter.warnings]
    if cut:
        notes.append(f"Too long for the music model and cut to its limit: {', '.join(cut)}.")
    dit = dit_model(job.spec, settings.models)
    notes += sorted({UNTIMED[item.untimed].format(dit=dit) for item in used if item.untimed})
    return notes
