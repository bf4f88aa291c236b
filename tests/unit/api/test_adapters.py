"""Adapters in the API: their listing, the fields that name them, refusals, and each caller's own."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from configs.settings import ApiSettings, LanguageModelSettings, ModelSettings, Settings
from deployments.common.messages import AdapterUse
from serve_app.api.access.keys import KEYS_VARIABLE, digest_of
from serve_app.api.app import create_app
from serve_app.storage import AudioStorage
from tests.adapters import DAMAGED, linears_of, pair, write_lora, write_tensors
from tests.unit.api.conftest import LocalJobService

CHECKPOINTS = Path(__file__).parents[2] / "data" / "dit" / "ckpt" / "original"
TURBO, XL = "acestep-v15-turbo", "acestep-v15-xl-turbo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    write_lora(folder, "folk", 1)
    write_lora(folder, "wide", 2, linears_of("xl-turbo"))
    write_tensors(folder / "bare.safetensors", pair())
    return folder


@pytest.fixture
def settings(folder: Path) -> Settings:
    models = ModelSettings(source="folder", folder=CHECKPOINTS, dits=(TURBO, XL), adapters=(str(folder),))
    return Settings(
        models=models,
        api=ApiSettings(max_duration=20.0),
        language_model=LanguageModelSettings(lm_max_duration=20),
    )


async def submitted(
    http: httpx.AsyncClient, service: LocalJobService, **fields: Any
) -> tuple[AdapterUse, ...]:
    """The adapters of the job that a request makes."""
    answer = await http.post("/v1/music/generate", json={"caption": "folk", **fields})
    assert answer.status_code == 200, answer.text
    return service.last.request.adapters


async def refused(http: httpx.AsyncClient, **fields: Any) -> str:
    """The message with which a request's adapters are refused."""
    answer = await http.post("/v1/music/generate", json={"caption": "folk", **fields})
    assert answer.status_code == 422, answer.text
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["body", "adapters"]
    message: str = problem["msg"]
    return message


async def test_models_lists_each_adapter_with_the_models_that_it_fits(
    http: httpx.AsyncClient, folder: Path
) -> None:
    write_tensors(folder / "broken.safetensors", {"hello": torch.ones(1)})
    write_tensors(folder / "tall.safetensors", pair(rows=99))
    listed = {each["name"]: each for each in (await http.get("/v1/models")).json()["adapters"]}
    assert list(listed) == ["bare", "broken", "folk", "tall", "wide"]
    assert listed["folk"] == {
        "name": "folk",
        "form": "peft",
        "rank": 4,
        "targets": [f"{kind}_attn.{part}_proj" for kind in ("cross", "self") for part in "koqv"],
        "is_dora": False,
        "parameters": 7168,
        "bytes": (folder / "folk" / "adapter_model.safetensors").stat().st_size,
        "models": [TURBO],
        "warnings": [],
        "problem": None,
    }
    assert listed["wide"]["models"] == [XL]
    assert "alpha" in listed["bare"]["warnings"][0]
    assert "hello are not understood" in listed["broken"]["problem"]
    assert "fits no model of this server: " in listed["tall"]["problem"]


async def test_a_request_names_adapters_with_scales(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    for given, found in (
        (
            [{"name": "folk", "scale": 0.5}, {"name": "bare"}],
            (AdapterUse("folk", 0.5), AdapterUse("bare", 1.0)),
        ),
        (["folk"], (AdapterUse("folk", 1.0),)),
        ("folk", (AdapterUse("folk", 1.0),)),
        ({"name": "folk", "scale": "-2"}, (AdapterUse("folk", -2.0),)),
        ([], ()),
        (None, ()),
    ):
        assert await submitted(http, service, adapters=given) == found


@pytest.mark.parametrize("kind", ["form", "multipart"])
async def test_a_form_names_one_adapter_or_several(
    http: httpx.AsyncClient, service: LocalJobService, kind: str
) -> None:
    async def sent(fields: dict[str, str]) -> tuple[AdapterUse, ...]:
        body: dict[str, Any] = {"data": {"caption": "folk", **fields}}
        if kind == "multipart":
            body = {"files": {name: (None, value) for name, value in body["data"].items()}}
        answer = await http.post("/v1/music/generate", **body)
        assert answer.status_code == 200, answer.text
        return service.last.request.adapters

    assert await sent({"lora_name": "folk"}) == (AdapterUse("folk", 1.0),)
    assert await sent({"loraName": "folk", "loraScale": "0.5"}) == (AdapterUse("folk", 0.5),)
    listed = json.dumps([{"name": "folk", "scale": 1.5}, {"name": "bare"}])
    assert await sent({"adapters": listed, "lora_name": "other"}) == (
        AdapterUse("folk", 1.5),
        AdapterUse("bare", 1.0),
    )


@pytest.mark.parametrize(
    "given",
    [
        [{"name": "folk", "scale": 2.5}],
        [{"name": "folk", "scale": "loud"}],
        [{"name": "folk", "scale": True}],
        [{"name": "folk", "strength": 1}],
        [{"scale": 1.0}],
        [{"name": ""}],
        [{"name": 7}],
        [["folk"]],
        [None],
        7,
    ],
)
async def test_what_is_no_list_of_adapters_is_refused(http: httpx.AsyncClient, given: Any) -> None:
    assert "array of objects like" in await refused(http, adapters=given)


async def test_too_many_adapters_and_one_named_twice_are_refused(http: httpx.AsyncClient) -> None:
    assert "at most 8" in await refused(http, adapters=[{"name": str(index)} for index in range(9)])
    assert "each adapter once" in await refused(http, adapters=["folk", "folk"])


async def test_an_unknown_adapter_is_refused_with_those_there_are(http: httpx.AsyncClient) -> None:
    for name in ("jazz", "../adapters/folk", "/etc/passwd"):
        message = await refused(http, adapters=[name])
        assert message == f"This server has no adapter {name!r}, only bare, folk, wide"


async def test_an_adapter_of_another_model_is_refused_by_its_tensor(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    message = await refused(http, adapters=["wide"])
    assert "'wide' cannot be used: it does not fit acestep-v15-turbo" in message
    assert "layers.0.cross_attn.k_proj.lora_A.weight is for a matrix [16, 48], and the model's is" in message
    assert message.endswith(f"it fits {XL}")
    assert await submitted(http, service, adapters=["wide"], model=XL) == (AdapterUse("wide", 1.0),)


async def test_damaged_adapters_are_refused_by_name(
    http: httpx.AsyncClient, folder: Path, tmp_path: Path
) -> None:
    for index, (write, _) in enumerate(DAMAGED.values()):
        own = tmp_path / str(index)
        own.mkdir()
        write(own)
        (written,) = own.iterdir()
        written.rename(folder / written.name.replace("bad", f"bad{index}"))
    for index, (_, problem) in enumerate(DAMAGED.values()):
        message = await refused(http, adapters=[f"bad{index}"])
        assert message.startswith(f"The adapter 'bad{index}' cannot be used: ")
        assert problem in message
        assert str(folder) not in message


async def test_numbers_that_are_not_finite_are_refused_by_tensor(
    http: httpx.AsyncClient, folder: Path
) -> None:
    tensors = pair()
    (first, *_) = tensors
    tensors[first][0, 0] = float("nan")
    write_tensors(folder / "bad.safetensors", tensors)
    assert f"{first} has numbers that are not finite" in await refused(http, adapters=["bad"])


async def test_two_doras_are_refused(http: httpx.AsyncClient, folder: Path) -> None:
    for name in ("one", "two"):
        key = "layers.0.self_attn.q_proj"
        write_tensors(
            folder / f"{name}.safetensors", {**pair(key=key), f"{key}.dora_scale": torch.ones(32, 1)}
        )
    assert "Only one" in await refused(http, adapters=["one", "two"])


# The ACE-Step API


async def task(http: httpx.AsyncClient, **fields: Any) -> None:
    answer = await http.post("/release_task", json={"prompt": "folk", **fields})
    assert answer.json()["code"] == 200, answer.text


async def told(http: httpx.AsyncClient, path: str, **fields: Any) -> dict[str, Any]:
    answer = await http.post(path, json=fields)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_a_task_names_an_adapter_by_lora_name(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    await task(http, lora_name="folk", lora_scale=0.5)
    assert service.last.request.adapters == (AdapterUse("folk", 0.5),)
    await task(http, param_obj={"lora_name": "folk", "lora_scale": 7})
    assert service.last.request.adapters == (AdapterUse("folk", 2.0),)
    await task(http, lora_name="none")
    assert service.last.request.adapters == ()
    answer = await http.post("/release_task", json={"prompt": "folk", "lora_name": "jazz"})
    assert answer.status_code == 422
    assert "no adapter 'jazz'" in answer.text


async def test_a_loaded_adapter_is_used_by_the_callers_jobs(
    http: httpx.AsyncClient, service: LocalJobService, folder: Path
) -> None:
    loaded = await told(http, "/v1/lora/load", lora_path=str(folder / "folk"), adapter_name="mine")
    assert "✅" in loaded["message"]
    assert (loaded["lora_path"], loaded["adapter_name"]) == (str(folder / "folk"), "mine")
    await task(http)
    assert service.last.request.adapters == (AdapterUse("folk", 1.0),)
    assert (await told(http, "/v1/lora/scale", scale=0.25))["scale"] == 0.25
    await task(http)
    assert service.last.request.adapters == (AdapterUse("folk", 0.25),)
    status = await told(http, "/v1/lora/status")
    assert status == {
        "lora_loaded": True,
        "use_lora": True,
        "lora_scale": 0.25,
        "adapter_type": "lora",
        "scales": {"mine": 0.25},
        "active_adapter": "mine",
        "adapters": ["mine"],
        "synthetic_default_mode": False,
    }


async def test_a_request_and_the_switch_win_over_a_loaded_adapter(
    http: httpx.AsyncClient, service: LocalJobService
) -> None:
    await told(http, "/v1/lora/load", lora_path="folk")
    await task(http, lora_name="bare", lora_scale=0.5)
    assert service.last.request.adapters == (AdapterUse("bare", 0.5),)
    assert (await told(http, "/v1/lora/toggle", use_lora=False))["use_lora"] is False
    await task(http)
    assert service.last.request.adapters == ()
    await told(http, "/v1/lora/toggle", use_lora=True)
    assert "✅" in (await told(http, "/v1/lora/unload"))["message"]
    await task(http)
    assert service.last.request.adapters == ()


@pytest.mark.parametrize(
    ("path", "fields", "problem"),
    [
        ("load", {"lora_path": "jazz"}, "❌"),
        ("load", {"lora_path": "/etc/passwd"}, "❌"),
        ("load", {"lora_path": "folk", "adapter_name": "mine"}, "Adapter name already in use"),
        ("scale", {"scale": 0.5, "adapter_name": "other"}, "'other'"),
    ],
)
async def test_what_cannot_be_loaded_is_answered_with_400(
    http: httpx.AsyncClient, path: str, fields: dict[str, Any], problem: str
) -> None:
    await told(http, "/v1/lora/load", lora_path="folk", adapter_name="mine")
    answer = await http.post(f"/v1/lora/{path}", json=fields)
    assert answer.status_code == 400
    assert problem in answer.json()["detail"]


@pytest.mark.parametrize("text", ["half a pair \ud800", "nul \0"])
@pytest.mark.parametrize("name", ["adapter_name", "lora_path"])
async def test_an_adapter_has_no_name_that_cannot_be_written(
    http: httpx.AsyncClient, name: str, text: str
) -> None:
    body = json.dumps({"lora_path": "folk", name: text})
    answer = await http.post("/v1/lora/load", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert name in answer.text
    assert (await told(http, "/v1/lora/status"))["lora_loaded"] is False


@pytest.fixture
async def two_callers(
    service: LocalJobService, settings: Settings, storage: AudioStorage, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    entries = [{"name": name, "sha256": digest_of(f"acestep-{name}")} for name in ("ann", "bob")]
    monkeypatch.setenv(KEYS_VARIABLE, str(entries))
    transport = httpx.ASGITransport(create_app(service, settings, storage), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


async def test_each_caller_has_its_own_adapter(
    two_callers: httpx.AsyncClient, service: LocalJobService
) -> None:
    async def as_caller(name: str, path: str, **fields: Any) -> None:
        headers = {"Authorization": f"Bearer acestep-{name}"}
        answer = await two_callers.post(path, json=fields, headers=headers)
        assert answer.status_code == 200, answer.text

    await as_caller("ann", "/v1/lora/load", lora_path="folk")
    await as_caller("ann", "/release_task", prompt="folk")
    assert service.last.request.adapters == (AdapterUse("folk", 1.0),)
    await as_caller("bob", "/release_task", prompt="folk")
    assert service.last.request.adapters == ()
