"""The commands about jobs and the server: `jobs`, `show`, `save`, `cancel`, `models` and `usage`."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape

from acestep_client.answers import JobSnapshot
from acestep_client.errors import AcestepError
from acestep_client.shell import exits, options
from acestep_client.shell.following import described, remaining
from acestep_client.shell.making import followed
from acestep_client.shell.outputs import save as save_songs
from acestep_client.shell.screen import age, out, print_json, print_table, report
from acestep_client.shell.server import client_of, job_ids

CAPTION_LENGTH = 40


class Status(StrEnum):
    """The status of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def jobs(
    context: typer.Context,
    status: Annotated[Status | None, typer.Option("--status", help="Only jobs with this status.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="Number of jobs.", min=1)] = 20,
    as_json: options.Json = False,
) -> None:
    """List your jobs, the newest first."""
    with client_of(context) as client:
        listed = [job.snapshot for job in client.jobs(None if status is None else status.value, limit)]
    if as_json:
        print_json(listed)
    else:
        print_table(("JOB", "STATUS", "DOING", ">PROGRESS", ">AGE", "CAPTION"), map(_row, listed))


def show(
    context: typer.Context,
    job_id: options.JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Show how a job stands, and its songs."""
    with client_of(context) as client:
        job = client.job(job_id)
        if wait:
            followed(job, timeout, as_json)
        else:
            job.refresh()
    snapshot = job.snapshot
    assert snapshot is not None
    if as_json:
        print_json(snapshot)
        return
    lines = [("job", job.id), ("status", snapshot.status), ("created", f"{age(snapshot.created_at)} ago")]
    if not job.has_ended:
        lines += [("doing", described(snapshot)), ("progress", f"{snapshot.progress:.0%}")]
        lines += [("time", remaining(snapshot))]
    if snapshot.error:
        lines.append(("error", snapshot.error))
    if job.result is not None:
        lines += [("caption", str(job.result.metas.get("caption") or "")), ("seeds", job.result.seed_value)]
        lines += [("songs", path) for path in (song.path for song in job.songs)]
        lines.append(("message", job.result.status_message))
    for name, value in lines:
        if value:
            out().print(f"[bold]{name:<9}[/bold]{escape(value)}")


def save(
    context: typer.Context,
    job_id: options.JobId,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Save the songs of a job, after its end."""
    with client_of(context) as client:
        job = client.job(job_id)
        job.wait()
        files = [str(file) for file in save_songs(job, output)]
    if as_json:
        print_json({"job_id": job.id, "files": files})
    else:
        for file in files:
            out().print(file, markup=False)


def cancel(
    context: typer.Context,
    job_ids: Annotated[
        list[str], typer.Argument(help="Their ids.", autocompletion=job_ids, show_default=False)
    ],
    purge: Annotated[
        bool, typer.Option("--purge", help="Also delete the jobs, with prompts, recordings and songs.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Cancel jobs, or delete them with all that is kept of them."""
    code = exits.DONE
    told: list[dict[str, str | None]] = []
    with client_of(context) as client:
        for job_id in job_ids:
            job = client.job(job_id)
            try:
                answer = job.purge() if purge else job.cancel()
            except AcestepError as error:
                code = exits.exit_code_of(error)
                told.append({"job_id": job_id, "problem": str(error)})
                if not as_json:
                    report(error)
            else:
                told.append({"job_id": job_id, "problem": None})
                if not as_json:
                    state = answer.status if isinstance(answer, JobSnapshot) else "purged"
                    out().print(f"{job_id}: {state}", markup=False)
    if as_json:
        print_json(told)
    raise typer.Exit(code)


def models(context: typer.Context, as_json: options.Json = False) -> None:
    """Show the models, formats and limits of the server."""
    with client_of(context) as client:
        known = client.models()
    if as_json:
        print_json(known)
        return
    print_table(
        ("MUSIC MODEL", ">STEPS", ">SHIFT", "GUIDANCE", "TASKS"),
        (
            (
                f"{model.name}{' (default)' if model.is_default else ''}",
                model.default_steps,
                f"{model.default_shift:g}",
                "yes" if model.takes_guidance else "no",
                ", ".join(model.tasks),
            )
            for model in known.models
        ),
    )
    out().print()
    print_table(
        ("LANGUAGE MODEL", "BACKENDS", "TRAINED FOR"),
        (
            (
                f"{model.name}{' (default)' if model.is_default else ''}",
                ", ".join(model.backends),
                ", ".join(model.trained_tasks),
            )
            for model in known.lm_models
        ),
    )
    out().print(
        f"\nFormats: {', '.join(known.audio_formats)}\n"
        f"At most {known.max_duration:g} s and {known.max_batch_size} songs a job; songs are kept for "
        f"{known.result_seconds / 3600:g} h",
        markup=False,
    )


def usage(
    context: typer.Context,
    first_day: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="The first day, such as 2026-11-01 (UTC).")
    ] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last day.")] = None,
    as_json: options.Json = False,
) -> None:
    """Show what you used, by day."""
    with client_of(context) as client:
        used = client.usage(first_day, last_day)
    if as_json:
        print_json(used)
        return
    rows = [(day.day, day) for day in used.days] + [("total", used.total)]
    print_table(
        ("DAY", ">SUCCEEDED", ">FAILED", ">CANCELLED", ">AUDIO S", ">CODES", ">LM S", ">DIT S", ">CODEC S"),
        (
            (
                name,
                part.jobs.succeeded,
                part.jobs.failed,
                part.jobs.cancelled,
                f"{part.audio_seconds:.1f}",
                part.codes,
                f"{part.engine_seconds.language_model:.1f}",
                f"{part.engine_seconds.generator:.1f}",
                f"{part.engine_seconds.codec:.1f}",
            )
            for name, part in rows
        ),
    )
    if used.budget is not None:
        left = f"{used.budget.left:.1f} of {used.budget.audio_seconds_per_day:g} s"
        out().print(f"\nBudget: {left} of music are left today", markup=False)


def _row(job: JobSnapshot | None) -> tuple[object, ...]:
    assert job is not None
    caption = str(job.result.metas.get("caption") or "") if job.result else ""
    shown = caption if len(caption) <= CAPTION_LENGTH else f"{caption[: CAPTION_LENGTH - 1]}…"
    doing = described(job) if job.status in ("queued", "running") else ""
    return job.job_id, job.status, doing, f"{job.progress:.0%}", age(job.created_at), shown
