"""What the server says about itself, over HTTP."""

from configs.settings import Settings
from tests.live_server import Client


def test_models_lists_what_a_request_may_name(server: Client) -> None:
    models = server.http.get("/v1/models").raise_for_status().json()
    text = str(models)
    for name in ("acestep-v15-turbo", "acestep-5Hz-lm-0.6B", "vllm", "pt", "mp3", "text2music"):
        assert name in text


def test_health_and_readiness(server: Client) -> None:
    assert server.http.get("/health").status_code == 200
    assert server.http.get("/ready").status_code == 200


def test_stats_count_jobs_and_replicas(server: Client) -> None:
    server.make(audio_duration=1, batch_size=1, bpm=100, key_scale="C", time_signature="4/4")
    stats = server.http.get("/v1/stats").raise_for_status().json()
    assert stats["jobs"]["succeeded"] >= 1
    assert stats["queue_limit"] == Settings().jobs.queue_limit
    assert set(stats["replicas"]) == {"Ingress", "LanguageModel", "Generator", "Codec"}
    assert stats["stage_seconds"]["denoising"] > 0


def test_openapi_describes_every_field(server: Client) -> None:
    assert server.http.get("/docs").status_code == 200
    document = server.http.get("/openapi.json").raise_for_status().json()
    bodies = document["paths"]["/v1/music/generate"]["post"]["requestBody"]["content"]
    assert {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"} <= set(bodies)
