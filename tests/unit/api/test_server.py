"""The endpoints that describe the server, and its OpenAPI document."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from configs.settings import ModelSettings, Settings
from deployments.common.audio_formats import FORMATS
from serve_app.api import readiness
from serve_app.api.app import create_app
from serve_app.api.service import Readiness
from serve_app.jobs.durable_tracker import STORE_FAILS
from serve_app.jobs.mode import Mode
from serve_app.request.schemas import GenerateRequest
from serve_app.storage import AudioStorage
from tests.unit.api.conftest import LocalJobService, wav_bytes

ENVELOPE = {"data", "code", "error", "timestamp", "extra"}
"""Keys of the ACE-Step API, which these answers have beside their own."""


async def test_models(http: httpx.AsyncClient) -> None:
    models = (await http.get("/v1/models")).json()
    assert models["models"] == [
        {
            "name": "acestep-v15-turbo",
            "is_default": True,
            "tasks": ["text2music", "cover", "repaint"],
            "takes_guidance": False,
            "default_steps": 8,
            "default_shift": 3.0,
            "takes_timesteps": True,
            "is_corrected": True,
            "follows_lyrics": False,  # the embedded one
        }
    ]
    assert models["lm_models"] == [
        {
            "name": "acestep-5Hz-lm-0.6B",
            "is_default": True,
            "backends": ["vllm", "pt"],
            "trained_tasks": [],  # of the embedded one
        }
    ]
    assert (models["default_model"], models["default_lm_model"]) == (
        "acestep-v15-turbo",
        "acestep-5Hz-lm-0.6B",
    )
    assert set(models["audio_formats"]) == set(FORMATS)
    assert (models["max_duration"], models["lm_max_duration"]) == (20.0, 20)
    assert (models["default_batch_size"], models["max_batch_size"]) == (2, 8)
    assert models["max_upload_bytes"] == 4_000_000
    assert (models["result_seconds"], models["record_seconds"]) == (24 * 3600, 7 * 24 * 3600)


async def test_every_dit_is_listed_with_its_own_abilities(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    models = ModelSettings(dits=("acestep-v15-turbo", "acestep-v15-base"))
    app = create_app(service, settings.model_copy(update={"models": models}), storage)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
        answer = (await http.get("/v1/models")).json()
        turbo, base = answer["models"]
        assert (turbo["name"], turbo["is_default"]) == ("acestep-v15-turbo", True)
        assert (base["name"], base["is_default"]) == ("acestep-v15-base", False)
        assert (turbo["takes_guidance"], base["takes_guidance"]) == (False, True)
        assert "lego" in base["tasks"]
        assert "lego" not in turbo["tasks"]
        assert answer["default_model"] == "acestep-v15-turbo"
        document = (await http.get("/openapi.json")).json()
        body = document["paths"]["/v1/music/generate"]["post"]["requestBody"]["content"]["application/json"]
        assert body["schema"]["properties"]["model"]["anyOf"][0]["enum"] == list(models.dits)
        assert "lego" in body["schema"]["properties"]["task_type"]["enum"]


async def test_stats(http: httpx.AsyncClient) -> None:
    await http.post("/v1/music/generate", json={})
    stats = (await http.get("/v1/stats")).json()
    assert {name: stats[name] for name in stats if name not in ENVELOPE} == {
        "jobs": {"queued": 1, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0},
        "queue_length": 1,
        "queue_limit": 3,
        "avg_job_seconds": 5.0,
        "stage_seconds": {},
        "replicas": {"Ingress": 1, "Codec": 2},
        "mode": "open",
    }


async def test_health_and_readiness(
    http: httpx.AsyncClient, service: LocalJobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "RENEWED_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    assert (await http.get("/ready")).json() == {
        "status": "ready",
        "mode": "open",
        "parts": {"JobTracker": "ready", "Generator": "ready"},
        "no_room": None,
    }
    service.parts = {"JobTracker": Readiness.READY, "LanguageModel": Readiness.AWAY, "Codec": Readiness.AWAY}
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()) == (503, {"detail": "Not ready: LanguageModel, Codec"})
    assert answer.headers["retry-after"] == "5"
    health = (await http.get("/health")).json()
    assert {name: health[name] for name in health if name not in ENVELOPE} == {
        "status": "ok",
        "service": "acestep-serve",
    }


async def test_a_server_whose_store_takes_no_writes_says_so_and_stays_ready(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    """A load balancer that asks for readiness must not take polls and downloads away."""
    service.no_room = STORE_FAILS
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()["no_room"]) == (200, STORE_FAILS)


@pytest.mark.parametrize("part", [one for one in Readiness if one is not Readiness.AWAY])
async def test_a_server_whose_parts_work_or_start_when_work_comes_is_ready(
    http: httpx.AsyncClient, service: LocalJobService, part: Readiness
) -> None:
    service.parts["Generator"] = part
    assert (await http.get("/ready")).json()["parts"]["Generator"] == part.value


async def test_a_draining_server_says_so_and_takes_no_new_jobs(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    job_id = (await http.post("/v1/music/generate", json={})).json()["job_id"]
    service.tracker.mode = Mode.DRAINING
    answer = await http.post("/v1/music/generate", json={})
    assert answer.status_code == 503
    assert answer.json() == {"detail": "The server takes no new jobs at the moment; try again in 60 s"}
    assert answer.headers["retry-after"] == "60"
    assert (await http.get(f"/v1/jobs/{job_id}")).json()["status"] == "queued"
    assert (await http.get("/v1/stats")).json()["mode"] == "draining"
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()["mode"]) == (200, "draining")


async def test_a_draining_server_keeps_nothing_of_what_it_refuses(
    http: httpx.AsyncClient, service: LocalJobService, stored_files: Callable[[], list[Path]]
) -> None:
    service.tracker.mode = Mode.DRAINING
    answer = await http.post(
        "/v1/music/generate",
        data={"task_type": "cover"},
        files={"src_audio": ("song.wav", wav_bytes(), "audio/wav")},
    )
    assert answer.status_code == 503
    assert stored_files() == []


async def test_openapi_describes_every_field_in_every_body(http: httpx.AsyncClient) -> None:
    assert (await http.get("/docs")).status_code == 200
    document = (await http.get("/openapi.json")).json()
    operation = document["paths"]["/v1/music/generate"]["post"]
    bodies = operation["requestBody"]["content"]
    assert set(bodies) == {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"}
    for content_type, body in bodies.items():
        properties = body["schema"]["properties"]
        uploads = {"src_audio", "reference_audio"} if content_type.startswith("multipart") else set()
        assert set(properties) == set(GenerateRequest.model_fields) | uploads
        assert all(field["description"] for field in properties.values())
        assert "$ref" not in str(properties)
    assert set(operation["responses"]) == {"200", "400", "408", "409", "413", "415", "422", "429", "503"}


async def test_openapi_has_the_limits_of_this_server(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    bodies = document["paths"]["/v1/music/generate"]["post"]["requestBody"]["content"]
    fields = bodies["application/json"]["schema"]["properties"]
    assert fields["audio_duration"]["anyOf"][0] == {"exclusiveMinimum": 0, "maximum": 20.0, "type": "number"}
    assert fields["batch_size"]["anyOf"][0] == {"minimum": 1, "maximum": 8, "type": "integer"}
    assert fields["bpm"]["anyOf"][0] == {"minimum": 30, "maximum": 300, "type": "integer"}
    assert fields["task_type"]["enum"] == ["text2music", "cover", "repaint"]
    assert fields["audio_format"]["enum"] == list(FORMATS)


def test_the_api_imports_neither_ray_nor_a_model_nor_a_decoder() -> None:
    code = (
        "import sys, serve_app.api.app\n"
        "unwanted = {'ray', 'torch', 'vllm', 'diffusers', 'transformers', 'av', 'soundfile', 'soxr'}\n"
        "print(*unwanted & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""


async def test_a_failure_of_the_work_beside_the_requests_is_logged(
    service: LocalJobService, settings: Settings, storage: AudioStorage, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise LookupError("nothing is here")

    app = create_app(service, settings, storage, while_running=fail)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0.05)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["nothing is here"]
