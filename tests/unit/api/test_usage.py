"""`GET /v1/usage`, budgets of keys, and the `RateLimit` headers."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml

from configs.settings import Settings
from serve_app.api.access.keys import ApiKey, KeyRing, digest_of
from serve_app.api.app import create_app
from serve_app.storage import AudioStorage
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.test_jobs import GENERATE, RESULT, submit

KEYS = {"alice": "acestep-alice", "bob": "acestep-bob"}


def today() -> str:
    return datetime.fromtimestamp(time.time(), UTC).date().isoformat()


@pytest.fixture
async def alice(
    service: LocalJobService, settings: Settings, storage: AudioStorage, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    file = tmp_path / "keys.yaml"
    file.touch(0o600)
    entries = [{"name": name, "sha256": digest_of(key)} for name, key in KEYS.items()]
    entries[0]["audio_seconds_per_day"] = 30
    file.write_text(yaml.safe_dump(entries))
    api = settings.api.model_copy(update={"keys_file": file})
    app = create_app(service, settings.model_copy(update={"api": api}), storage)
    headers = {"X-API-Key": KEYS["alice"]}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server", headers=headers) as client:
        yield client


async def test_the_usage_of_a_finished_and_a_cancelled_job(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    await submit(http, audio_duration=12.5, batch_size=2)
    service.finish(service.claim(), RESULT)
    await http.delete(f"/v1/jobs/{await submit(http)}")
    amounts = {
        "jobs": {"succeeded": 1, "failed": 0, "cancelled": 1},
        "audio_seconds": 25.0,
        "codes": 0,
        "engine_seconds": {"language_model": 0.0, "generator": 1.5, "codec": 0.0},
    }
    day = today()
    answer = await http.get("/v1/usage", params={"from": day, "to": day})
    assert answer.json() == {
        "from": day,
        "to": day,
        "days": [{"day": day, **amounts}],
        "total": amounts,
        "budget": None,
    }
    assert (await http.get("/v1/usage")).json()["total"] == amounts
    for last in ("2020-01-01", "0001-01-01"):
        assert (await http.get("/v1/usage", params={"to": last})).json()["days"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-11-02", "to": "2026-11-01"},
        {"from": "2025-01-01", "to": "2026-11-01"},
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"from": "9999-12-31"},
    ],
)
async def test_days_that_make_no_sense_are_refused(http: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await http.get("/v1/usage", params=query)).status_code == 422


async def test_each_key_sees_its_own_usage_and_budget(
    alice: httpx.AsyncClient, service: LocalJobService
) -> None:
    await submit(alice, audio_duration=10, batch_size=1)
    service.finish(service.claim(), RESULT)
    await submit(alice, audio_duration=5, batch_size=1)
    told = (await alice.get("/v1/usage")).json()
    assert told["total"]["audio_seconds"] == 10.0
    assert (told["budget"]["audio_seconds_per_day"], told["budget"]["left"]) == (30.0, 15.0)
    assert 0 < told["budget"]["resets_at"] - time.time() <= 86_400
    bob = {"X-API-Key": KEYS["bob"]}
    told = (await alice.get("/v1/usage", headers=bob)).json()
    assert (told["days"], told["budget"]) == ([], None)
    assert (await alice.get("/v1/usage", headers={"X-API-Key": "nobody"})).status_code == 401


async def test_a_submit_beyond_the_budget_is_a_429_that_says_until_when(alice: httpx.AsyncClient) -> None:
    accepted = await alice.post(GENERATE, json={"audio_duration": 20, "batch_size": 1})
    assert accepted.headers["ratelimit-policy"] == (
        '"submits";q=200;w=20, "audio";q=30;w=86400;qu="acestep-audio-seconds"'
    )
    refused = await alice.post(GENERATE, json={"audio_duration": 20, "batch_size": 1})
    assert refused.status_code == 429
    assert "are renewed at" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) <= 86_400
    submits, audio = refused.headers["ratelimit"].split(", ")
    # A tenth of a second renews a submit.
    assert submits.startswith(('"submits";r=199;t=', '"submits";r=200;t='))
    assert audio.startswith('"audio";r=10;t=')
    assert (await alice.post(GENERATE, json={"audio_duration": 10, "batch_size": 1})).status_code == 200


async def test_every_submit_tells_the_rate(http: httpx.AsyncClient) -> None:
    answer = await http.post(GENERATE, json={})
    assert answer.headers["ratelimit-policy"] == '"submits";q=200;w=20'
    assert answer.headers["ratelimit"] == '"submits";r=199;t=1'


def test_two_keys_of_a_name_have_one_budget() -> None:
    old, new = (
        ApiKey(name="a", sha256=digest_of(key), audio_seconds_per_day=seconds)
        for key, seconds in [("1", 5), ("2", 6)]
    )
    with pytest.raises(ValueError, match="audio_seconds_per_day"):
        KeyRing([old, new])
