"""The whole application: `build(settings)` binds the graph of deployments that serve_config.yaml deploys.

client → Ingress (↔ JobTracker) → LanguageModel: plan, compose → Generator: denoise → Codec: encode, decode
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from configs import metrics
from configs.settings import Settings
from deployments.codec.deployment import Codec
from deployments.common.meter import Meter
from deployments.common.processor import collect_garbage_rarely
from deployments.common.tracing import span_recorder
from deployments.generator.deployment import Generator
from deployments.language_model.deployment import LanguageModel
from serve_app.access_log import log_no_answered_polls
from serve_app.announcement import announce, proxy_address
from serve_app.api.app import create_app
from serve_app.draining import release_when_draining
from serve_app.execution.models import HandleModels
from serve_app.execution.runner import Runners
from serve_app.execution.runner_thread import RunnerThread
from serve_app.jobs.client import replace_outdated_tracker, tracker_client
from serve_app.service import RayJobService
from serve_app.storage import AudioStorage


@serve.deployment(
    name="Ingress",
    ray_actor_options={"num_cpus": 0.1},
    max_ongoing_requests=2500,  # This is `api.open_requests` and room for short requests.
    graceful_shutdown_timeout_s=60,  # time to release its jobs, to a tracker that may be starting
    health_check_period_s=5,
)
@serve.ingress()
class Ingress:
    """The HTTP API, and the runner loops that run jobs on the other deployments."""

    def __init__(
        self,
        settings: Settings,
        language_models: Mapping[str, DeploymentHandle[Any]],
        generators: Mapping[str, DeploymentHandle[Any]],
        codec: DeploymentHandle[Any],
    ) -> None:
        collect_garbage_rarely()
        log_no_answered_polls()
        self._settings = settings
        # Serve starts replicas only for the newest version of an application, so replacing is safe here.
        replace_outdated_tracker(settings)
        tracker = tracker_client(settings)
        self._storage = AudioStorage(settings.storage.uri)
        for handle in (*language_models.values(), *generators.values(), codec):
            handle.options()  # initialises the handle, which is not safe on two threads at once
        models = HandleModels(language_models, generators, codec)
        self._spans = span_recorder(settings.tracing, "Ingress")
        self._service = RayJobService(settings, tracker, language_models, generators, codec)
        self._runners = RunnerThread(Runners(tracker, models, self._storage, settings, self._spans))
        self._meter = Meter(metrics.INGRESS_METRICS)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(
            self._service,
            self._settings,
            self._storage,
            self._spans,
            lambda outdated: self._meter.set(metrics.API_KEYS_OUTDATED, outdated),
            self._while_running,
        )

    async def _while_running(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(announce(self._service.condition, proxy_address))
            tasks.create_task(release_when_draining(self._runners))

    def check_health(self) -> None:
        self._runners.check()

    async def __del__(self) -> None:
        await self._service.close()
        await self._runners.stop()
        self._spans.close()


def build(settings: Settings) -> serve.Application:
    """Bind the graph. Ray Serve parses the config's `args:` into `settings` and refuses unknown names."""
    models = settings.models
    return _bind(
        Ingress,
        settings,
        _bind_each(LanguageModel, settings, models.language_model_deployments),
        _bind_each(Generator, settings, models.generator_deployments),
        _bind(Codec, settings),
    )


def _bind_each(deployment: Any, settings: Settings, names: Mapping[str, str]) -> dict[str, serve.Application]:
    """One deployment for each checkpoint in `names`, which holds the deployments' names by checkpoint."""
    return {
        checkpoint: _bind(deployment.options(name=name), settings, checkpoint)
        for checkpoint, name in names.items()
    }


def _bind(deployment: Any, *arguments: Any) -> serve.Application:
    # The argument is `Any` because type checkers see the undecorated class instead of a deployment.
    return deployment.bind(*arguments)
