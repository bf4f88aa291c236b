"""Finished songs by the parts of their URL: `/v1/audio/{job_id}/{index}.{extension}`."""

import re
from dataclasses import dataclass

from deployments.codec.formats import FORMATS
from serve_app.api.service import JobService
from serve_app.jobs.model import JobState

_INDEX = re.compile("0|[1-9][0-9]{0,3}")


@dataclass(frozen=True)
class ResultFile:
    """One song of a finished job."""

    uri: str
    media_type: str
    name: str
    """What the file is called when it is saved."""


async def result_file(service: JobService, job_id: str, index: str, extension: str) -> ResultFile | None:
    """The song that a URL names; None where there is none."""
    view = await service.view(job_id)
    if view is None or view.job.state is not JobState.SUCCEEDED or not _INDEX.fullmatch(index):
        return None
    written_as = FORMATS[view.job.spec.request.audio_format]
    if extension != written_as.extension or int(index) >= len(view.job.files):
        return None
    return ResultFile(view.job.files[int(index)], written_as.media_type, f"{job_id}-{index}.{extension}")
