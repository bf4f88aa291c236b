"""`GET /v1/usage`: what the caller used, by day."""

import time
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.exceptions import RequestValidationError

from serve_app.api.access.callers import Caller, Callers
from serve_app.api.errors import error_responses
from serve_app.api.responses import Budget, EndedJobs, EngineSeconds, UsageOfDay, UsageResponse, UsedAmounts
from serve_app.api.service import JobService
from serve_app.jobs.usage import ClientUsage, Usage

MAX_DAYS = 400
DEFAULT_DAYS = 30


def usage_router(service: JobService, callers: Callers) -> APIRouter:
    """The figures of the caller. Without API keys a caller is a network address."""
    router = APIRouter(tags=["server"])

    @router.get("/v1/usage", responses=error_responses(422))
    async def usage(
        caller: Annotated[Caller, Depends(callers)],
        first: Annotated[
            date | None, Query(alias="from", description="First day (UTC); 29 days before `to` if not given.")
        ] = None,
        last: Annotated[date | None, Query(alias="to", description="Last day; today if not given.")] = None,
    ) -> UsageResponse:
        """Jobs that ended, seconds of music, codes and seconds of each engine, by the day of the end."""
        last = last or datetime.fromtimestamp(time.time(), UTC).date()
        first = first or date.fromordinal(max(1, last.toordinal() - DEFAULT_DAYS + 1))
        days = (last - first).days + 1
        if not 1 <= days <= MAX_DAYS:
            message = f"Input should be a day from 0 to {MAX_DAYS - 1} days before `to`"
            raise RequestValidationError([{"loc": ("query", "from"), "msg": message, "type": "value_error"}])
        found = await service.usage(caller.client.name, first.isoformat(), last.isoformat())
        return UsageResponse.model_validate(
            {
                "from": first,
                "to": last,
                "days": [UsageOfDay(day=day, **_amounts(used)) for day, used in sorted(found.days.items())],
                "total": UsedAmounts(**_amounts(Usage.total(found.days.values()))),
                "budget": _budget(caller, found),
            }
        )

    return router


def _amounts(usage: Usage) -> dict[str, object]:
    return {
        "jobs": EndedJobs(succeeded=usage.succeeded, failed=usage.failed, cancelled=usage.cancelled),
        "audio_seconds": usage.audio_ms / 1000,
        "codes": usage.codes,
        "engine_seconds": EngineSeconds(
            language_model=usage.language_model_ms / 1000,
            generator=usage.generator_ms / 1000,
            codec=usage.codec_ms / 1000,
        ),
    }


def _budget(caller: Caller, found: ClientUsage) -> Budget | None:
    budget = caller.client.audio_seconds_per_day
    if budget is None:
        return None
    left = max(0.0, round(budget - found.taken_ms / 1000, 3))
    return Budget(audio_seconds_per_day=budget, left=left, resets_at=found.renewed_at)
