"""Look-up of finished songs by the parts of their URL: `/v1/audio/{job_id}/{index}.{extension}`."""

import re
from dataclasses import dataclass

from deployments.common.audio_formats import FORMATS
from serve_app.api.responses import ProvenanceResponse
from serve_app.jobs.model import PROVENANCE, JobState, JobView
from serve_app.request.codes import parse_codes

_INDEX = re.compile("0|[1-9][0-9]{0,3}")


@dataclass(frozen=True)
class ResultFile:
    """One song of a finished job."""

    uri: str
    media_type: str
    name: str
    """The name under which a browser saves the file."""


def result_file(view: JobView, index: str, extension: str) -> ResultFile | None:
    """The song that a URL names; None where it does not exist or has been deleted."""
    if view.state is not JobState.SUCCEEDED or not _INDEX.fullmatch(index):
        return None
    written_as = FORMATS[view.audio_format]
    if extension != written_as.extension or int(index) >= len(view.files):
        return None
    return ResultFile(view.files[int(index)], written_as.media_type, f"{view.job_id}-{index}.{extension}")


def provenance(view: JobView, index: str) -> ProvenanceResponse:
    """How a song that `result_file` found was made."""
    result, number = view.result or {}, int(index)
    songs = result.get(PROVENANCE, [])
    adapters = result.get("adapters", [])
    if number < len(songs):
        return ProvenanceResponse(job_id=view.job_id, index=number, adapters=adapters, **songs[number])
    seeds = result.get("seed_value", "").split(", ")
    return ProvenanceResponse(
        job_id=view.job_id,
        index=number,
        generator=None,
        dit_model=result.get("dit_model"),
        lm_model=result.get("lm_model"),
        adapters=adapters,
        seed=int(seeds[number]) if number < len(seeds) and seeds[number] else None,
        digital_source_type=None,
        marks=[],
        sha256=None,
    )


def song_codes(view: JobView, index: str) -> tuple[int, ...]:
    """The audio codes from which a song that `result_file` found was made; empty where it had none."""
    codes = (view.result or {}).get("audio_codes", [])
    written = codes[int(index)] if int(index) < len(codes) else None
    return parse_codes(written) if written else ()
