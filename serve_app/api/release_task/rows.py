"""From our jobs to the rows of `/query_result`: the one place that translates them.

`result` in a row is a JSON text, which clients parse once more. It always holds at least one object.
"""

import json
from collections.abc import Callable
from typing import Any

from serve_app.api.access.audio_tokens import Token
from serve_app.api.release_task.songs import song_url
from serve_app.jobs.model import JobState, JobView

UNFINISHED, SUCCEEDED, FAILED = 0, 1, 2
"""Values of `status`. Cancelled and unknown tasks have failed, so that clients stop polling for them."""
UNKNOWN_TASK = "Task not found or expired"
CANCELLED_TASK = "The task was cancelled"
ENVIRONMENT = "development"
"""The value of `env`, which clients expect and nothing uses."""

Sign = Callable[[str], Token] | None
"""Makes the token in a song's address; None on a server without API keys."""

ANALYSES = {
    "codes": "Audio Codes Extraction Success",
    "description": "Full Hardware Analysis Success",
    "metadata": "Success",
}
"""`status_message` of an analysis, by the output of its job."""


def unknown_row(task_id: str) -> dict[str, Any]:
    """The row of an id that the caller has no job for."""
    return _row(task_id, FAILED, [_item(FAILED, 0, "failed", UNKNOWN_TASK)], UNKNOWN_TASK, UNKNOWN_TASK)


def job_row(view: JobView, sign: Sign) -> dict[str, Any]:
    """The row of a job."""
    created = int(view.created_at)
    if view.state is JobState.SUCCEEDED and view.result is not None:
        items = finished_items(view, view.result, sign)
        seconds = {f"{stage}_time_cost": cost for stage, cost in view.result["timings"].items()}
        row = _row(view.job_id, SUCCEEDED, items, "Done")
        return {**row, "extra_outputs": {"time_costs": seconds}}
    if view.state.is_final:
        error = view.error or CANCELLED_TASK
        return _row(view.job_id, FAILED, [_item(FAILED, created, "failed", error)], error, error)
    item = {**_item(UNFINISHED, created, view.stage), "progress": view.progress}
    row = _row(view.job_id, UNFINISHED, [item], _progress_text(view))
    return {**row, "queue_position": view.queue_position, "eta_seconds": view.eta_seconds}


def finished_items(view: JobView, result: dict[str, Any], sign: Sign) -> list[dict[str, Any]]:
    """One object for each song of a finished job; of an analysis, one."""
    output = result["metas"].get("output", "songs")
    common = {**_item(SUCCEEDED, int(view.created_at), "succeeded"), "progress": 1.0, **_words(result)}
    common |= {
        "generation_info": _information(result),
        "lm_model": result["lm_model"] or "",
        "dit_model": result["dit_model"] or "",
        "metas": _metas(result),
        "status_message": ANALYSES.get(output, result["status_message"]),
    }
    seeds = result["seed_value"].split(", ")
    timed = result.get("lyric_timestamps") or []
    if output in ANALYSES:
        numbered = {"seed_value": seeds[0], "audio_codes": "", "index": 0}
        return [{**common, **numbered, **_analysis(output, common["metas"], result)}]
    return [
        {
            **common,
            "file": song_url(path, sign),
            "seed_value": seeds[index],
            "audio_codes": result["audio_codes"][index] or "",
            "index": index,
            **({"lrc": timed[index]["lrc"]} if index < len(timed) and timed[index] else {}),
        }
        for index, path in enumerate(result["audio_paths"])
    ]


def _row(
    task_id: str, status: int, items: list[dict[str, Any]], progress_text: str, error: str | None = None
) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "status": status,
        "result": json.dumps(items),
        "progress_text": progress_text,
        "error": error,
        "queue_position": 0,
        "eta_seconds": None,
    }


def _item(status: int, created: int, stage: str, error: str | None = None) -> dict[str, Any]:
    """The keys that an object in `result` has in every state."""
    return {
        "file": "",
        "wave": "",
        "status": status,
        "create_time": created,
        "env": ENVIRONMENT,
        "prompt": "",
        "lyrics": "",
        "metas": {},
        "progress": 0.0,
        "stage": stage,
        "error": error,
    }


def _progress_text(view: JobView) -> str:
    if view.state is JobState.QUEUED:
        return f"Waiting, position {view.queue_position}"
    if view.stage == "denoising" and view.steps:
        step = min(view.steps.done + 1, view.steps.total)
        return f"Denoising, step {step} of {view.steps.total}"
    return f"{view.stage.capitalize()}, {view.progress:.0%} of the task done"


def _words(result: dict[str, Any]) -> dict[str, str]:
    """The words that the song was really made from."""
    metas = result["metas"]
    return {"prompt": metas.get("caption") or "", "lyrics": metas.get("lyrics") or ""}


def _metas(result: dict[str, Any]) -> dict[str, Any]:
    """The metadata; `prompt` and `lyrics` are the user's own. No text is missing or "N/A"."""
    metas = result["metas"]
    return {
        "bpm": result["bpm"],
        "duration": result["duration"] or 0,
        "genres": result["genres"] or "",
        "keyscale": result["keyscale"] or "",
        "timesignature": result["timesignature"] or "",
        "prompt": metas.get("requested_caption") or "",
        "lyrics": metas.get("requested_lyrics") or "",
        "caption": metas.get("caption") or "",
        "language": metas.get("language") or "",
    }


def _information(result: dict[str, Any]) -> str:
    """The way in which the songs were made, and all notes on the request."""
    _, _, notes = result["status_message"].partition("! ")
    return "; ".join(filter(None, [result["generation_info"], notes]))


def _analysis(output: str, metas: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The keys of an analysis beside those of a song."""
    codes = (result["audio_codes"] or [None])[0] or ""
    if output == "codes":
        return {"audio_codes": codes}
    described = {
        **metas,
        "genre": metas["genres"],
        "prompt": metas["caption"],
        "lyrics": result["metas"].get("lyrics") or "",
    }
    facts = ("bpm", "keyscale", "timesignature", "duration", "genre", "language", "prompt", "lyrics")
    keys = {"metas": described, "audio_codes": codes}
    return {**keys, **{name: described[name] for name in facts}} if output == "description" else keys
