"""The endpoints that describe the server."""

import psutil

from configs.domain import LANGUAGES
from configs.settings import Settings
from deployments.common.audio_formats import FORMATS
from tests.live_server import Client


def test_models_lists_what_a_request_may_name(server: Client) -> None:
    told = server.http.get("/v1/models").raise_for_status().json()
    (dit,) = told["models"]
    assert (dit["name"], dit["is_default"]) == ("acestep-v15-turbo", True)
    assert set(dit["tasks"]) == {"text2music", "cover", "repaint"}
    assert told["default_model"] == dit["name"]
    (language_model,) = told["lm_models"]
    assert (language_model["name"], language_model["is_default"]) == ("acestep-5Hz-lm-0.6B", True)
    assert language_model["backends"] == ["vllm", "pt"]
    assert set(language_model["trained_tasks"]) == {"inspire", "format", "understand", "wording"}
    assert told["default_lm_model"] == language_model["name"]
    assert set(told["audio_formats"]) == set(FORMATS)
    assert told["vocal_languages"] == list(LANGUAGES)


def test_health_and_readiness(server: Client) -> None:
    health = server.http.get("/health").json()
    assert {"status": "ok", "service": "acestep-serve"}.items() <= health.items()
    assert health["data"]["models_initialized"]
    ready = server.http.get("/ready").json()
    assert (ready["status"], ready["no_room"]) == ("ready", None)
    assert set(ready["parts"]) == {"JobTracker", "LanguageModel", "Generator", "Codec"}


def test_the_server_that_forks_decoders_starts_with_the_api(server: Client) -> None:
    """Otherwise the first recording would wait for it."""
    commands = [" ".join(child.cmdline()) for child in psutil.Process(server.pid).children(recursive=True)]
    assert sum("serve_app.recordings.fork_server" in command for command in commands) == 1


def test_stats_count_jobs_and_replicas(server: Client) -> None:
    before = server.http.get("/v1/stats").raise_for_status().json()["jobs"]["succeeded"]
    server.make(audio_duration=1, batch_size=1, bpm=100, key_scale="C", time_signature="4/4")
    stats = server.http.get("/v1/stats").raise_for_status().json()
    assert stats["jobs"]["succeeded"] == before + 1
    assert stats["queue_limit"] == Settings().jobs.queue_limit
    assert stats["replicas"] == {"Ingress": 1, "LanguageModel": 1, "Generator": 1, "Codec": 1}
    assert stats["stage_seconds"]["denoising"] > 0


def test_openapi_describes_every_field(server: Client) -> None:
    page = server.http.get("/docs")
    assert page.status_code == 200
    assert "openapi.json" in page.text
    document = server.http.get("/openapi.json").raise_for_status().json()
    bodies = document["paths"]["/v1/music/generate"]["post"]["requestBody"]["content"]
    assert {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"} <= set(bodies)
    fields = bodies["application/json"]["schema"]["properties"]
    assert [field for field, schema in fields.items() if not schema.get("description")] == []
