"""Measures how the cost of a song grows with its length. Jobs of one song run one at a time."""

import asyncio
from typing import Any

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.load import Record, client, run_job
from benchmarks.end_to_end.report import Report
from benchmarks.end_to_end.servers import Server
from benchmarks.end_to_end.sizes import Size


def lengths(server: Server, size: Size, report: Report) -> None:
    """Report the seconds for each second of music, also relative to the shortest song."""
    records = [asyncio.run(_job(server, length)) for length in size.lengths]
    report.jobs("by length", records)
    cheapest = records[0].latency / records[0].audio_seconds
    report.table("Cost by length", [_row(record, cheapest) for record in records])


async def _job(server: Server, length: int) -> Record:
    async with client(server.url) as http:
        return await run_job(http, mix.one_song(length, seed=length))


def _row(record: Record, cheapest: float) -> dict[str, Any]:
    cost = record.latency / record.audio_seconds
    stages = {f"{name}, s/s": seconds / record.audio_seconds for name, seconds in record.stages.items()}
    return {
        "audio, s": record.audio_seconds,
        "seconds": record.latency,
        "s/s": cost,
        "of linear": cost / cheapest,
        **stages,
    }
