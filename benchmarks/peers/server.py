"""Serves the model in the usual way: FastAPI, one process, one worker, and jobs in a dictionary.

    python -m benchmarks.peers.server --port 8160 --output FOLDER [--models FOLDER] [--threads 2]

It answers the same requests as ours: submit, poll (with `?wait=`, so that no time is lost between polls), and
download of songs.
"""

import argparse
import asyncio
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse

from benchmarks.peers.song_maker import MadeSongs, SongMaker
from benchmarks.peers.song_request import SongRequest
from benchmarks.tiny_models import TINY_MODELS
from configs.settings import ModelSettings
from deployments.common.processor import engine_thread, keep_freed_memory, use_threads

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """One job, which exists as long as the process."""

    request: SongRequest
    job_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    finished_at: float | None = None
    made: MadeSongs | None = None
    error: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> str:
        if self.finished_at is not None:
            return "failed" if self.made is None else "succeeded"
        return "queued" if self.started_at is None else "running"

    def shown(self) -> dict[str, Any]:
        return {
            "job_id": self.job_id,
            "status": self.status,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "result": None if self.made is None else self._result(self.made),
            "error": self.error,
        }

    def _result(self, made: MadeSongs) -> dict[str, Any]:
        paths = [f"/v1/audio/{self.job_id}/{path.name}" for path in made.files]
        return {"audio_paths": paths, "timings": made.timings}


class Worker:
    """Takes jobs from the queue one at a time and gives them to the only thread that computes."""

    def __init__(self, maker: SongMaker, thread: ThreadPoolExecutor, output: Path) -> None:
        self._maker, self._thread, self._output = maker, thread, output
        self.queue: asyncio.Queue[Job] = asyncio.Queue()

    async def work(self) -> None:
        while True:
            job = await self.queue.get()
            job.started_at = time.time()
            folder = self._output / job.job_id
            try:
                folder.mkdir(parents=True)
                job.made = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._maker.make, job.request, folder
                )
            except Exception as error:
                logger.exception("a job failed")
                job.error = str(error)
            job.finished_at = time.time()
            job.ended.set()


def create_app(models: ModelSettings, output: Path, threads: int) -> FastAPI:
    """Return the server. Its models are loaded when it starts."""
    jobs: dict[str, Job] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        use_threads(threads)
        keep_freed_memory()
        thread = engine_thread("models")
        maker = await asyncio.get_running_loop().run_in_executor(thread, SongMaker, models)
        app.state.worker = Worker(maker, thread, output)
        task = asyncio.create_task(app.state.worker.work())
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    def find(job_id: str) -> Job:
        if job_id not in jobs:
            raise HTTPException(404, "Job not found")
        return jobs[job_id]

    @app.post("/v1/music/generate")
    async def generate(request: SongRequest) -> dict[str, Any]:
        job = Job(request)
        jobs[job.job_id] = job
        app.state.worker.queue.put_nowait(job)
        return {
            "job_id": job.job_id,
            "status": job.status,
            "queue_position": app.state.worker.queue.qsize(),
        }

    @app.get("/v1/jobs/{job_id}")
    async def poll(job_id: str, wait: float = 0.0) -> dict[str, Any]:
        job = find(job_id)
        with suppress(TimeoutError):
            await asyncio.wait_for(job.ended.wait(), wait)
        return job.shown()

    @app.get("/v1/audio/{job_id}/{name}")
    async def download(job_id: str, name: str) -> FileResponse:
        made = find(job_id).made
        for file in made.files if made else ():
            if file.name == name:
                return FileResponse(file)
        raise HTTPException(404, "Audio file not found")

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the songs")
    parser.add_argument("--models", type=Path, help="folder of the checkpoints; without, tiny ones")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    models = ModelSettings(source="folder", folder=chosen.models) if chosen.models else TINY_MODELS
    app = create_app(models, chosen.output, chosen.threads)
    uvicorn.run(app, host="127.0.0.1", port=chosen.port, log_level="warning")


if __name__ == "__main__":
    main()
