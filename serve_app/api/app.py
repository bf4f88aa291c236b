"""The HTTP API as an ordinary FastAPI application: no Ray, no model."""

from fastapi import FastAPI

from configs.settings import Settings
from serve_app.api.errors import add_error_handlers
from serve_app.api.limits import server_limits
from serve_app.api.routes.audio import audio_router
from serve_app.api.routes.generate import generate_router
from serve_app.api.routes.jobs import jobs_router
from serve_app.api.routes.server import server_router
from serve_app.api.service import JobService
from serve_app.api.submission import Submission
from serve_app.storage import AudioStorage


def create_app(service: JobService, settings: Settings, storage: AudioStorage) -> FastAPI:
    """The API over a job service and the storage of its audio files."""
    app = FastAPI(
        title="acestep-serve",
        version="1",
        description="Music by ACE-Step 1.5: submit a job, poll it, download the songs.",
    )
    limits = server_limits(settings)
    submission = Submission(service, storage, settings, limits)
    add_error_handlers(app)
    app.include_router(generate_router(submission, limits, settings.api.max_upload_bytes))
    app.include_router(jobs_router(service))
    app.include_router(audio_router(service, storage))
    app.include_router(server_router(service, settings, limits))
    return app
