"""`python -m serve_app.admin verify` accepts whole checkpoints, and names broken ones with their fault."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.settings import ModelSettings
from deployments.checkpoints.location import checkpoint_folder
from deployments.checkpoints.official_shapes import official_config
from serve_app.admin import main
from tests import official_layouts
from tests.sparse_checkpoints import write_sparse, write_sparse_shards

GOLDEN = Path(__file__).parents[1] / "data" / "dit" / "ckpt"
TURBO, TEXT_ENCODER, LANGUAGE_MODEL = "acestep-v15-turbo", "Qwen3-Embedding-0.6B", "acestep-5Hz-lm-0.6B"
EMBEDDED = (TURBO, TEXT_ENCODER, LANGUAGE_MODEL, "vae")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = ModelSettings(source="random", folder=tmp_path_factory.mktemp("models"))
    for name in EMBEDDED:
        checkpoint_folder(models, name)
    return models.folder


def copy(folder: Path, models: Path) -> Path:
    return Path(shutil.copytree(folder, models / folder.name))


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def test_the_embedded_checkpoints_are_all_that_a_server_needs(
    embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(embedded)]) == 0
    shown = capsys.readouterr().out
    assert [line.split(":")[0] for line in shown.splitlines()] == [
        f"ok    {name}" for name in sorted(EMBEDDED)
    ]
    assert "acestep-v15-turbo: DiT (turbo), original layout" in shown
    assert "5Hz LM, 4.4 M parameters in 24 tensors, bfloat16" in shown


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("original", [TEXT_ENCODER, "acestep-v15-base", TURBO, "acestep-v15-xl-turbo"]),
        ("diffusers", ["base", "turbo", "xl-turbo"]),
    ],
)
def test_both_layouts(layout: str, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(GOLDEN / layout)]) == 0
    *lines, missing = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].removeprefix("ok").strip() for line in lines] == names
    assert f"DiT (base), {layout} layout" in "".join(lines)
    assert missing.startswith("A server also needs: VAE,")


def test_checkpoints_of_official_size_are_checked_without_their_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layouts = {
        "acestep-v15-turbo": official_layouts.dit_layout,
        "acestep-v15-xl-turbo": official_layouts.dit_layout,
        "vae": official_layouts.vae_layout,
        "Qwen3-Embedding-0.6B": official_layouts.qwen3_layout,
        "acestep-5Hz-lm-0.6B": official_layouts.qwen3_layout,
        "acestep-5Hz-lm-4B": official_layouts.qwen3_layout,
    }
    for name, layout in layouts.items():
        folder, config = tmp_path / name, official_config(name)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        stem = "diffusion_pytorch_model" if name == "vae" else "model"
        if name in ("acestep-v15-xl-turbo", "acestep-5Hz-lm-4B"):
            write_sparse_shards(folder, stem, layout(config), count=4)
        else:
            write_sparse(folder / f"{stem}.safetensors", layout(config))
        if name.startswith("acestep-v15"):
            torch.save(torch.zeros(1, 64, 15_000), folder / "silence_latent.pt")
        elif "lm" in name:
            (folder / "tokenizer.json").write_text('["<|audio_code_0|>", "<|audio_code_63999|>"]')
        elif name == TEXT_ENCODER:
            shutil.copy(GOLDEN / "original" / TEXT_ENCODER / "tokenizer.json", folder)
    assert main(["verify", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "acestep-v15-xl-turbo: DiT (turbo), original layout, 4,987.3 M parameters in 829 tensors" in shown
    assert "acestep-5Hz-lm-4B: 5Hz LM, 4,189.6 M parameters in 398 tensors, bfloat16" in shown
    (tmp_path / "acestep-v15-xl-turbo" / "model-00003-of-00004.safetensors").unlink()
    assert main(["verify", str(tmp_path / "acestep-v15-xl-turbo")]) == 1
    assert "model-00003-of-00004.safetensors" in capsys.readouterr().out


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def silence_of(*shape: int) -> Callable[[Path], None]:
    return lambda folder: torch.save(torch.zeros(shape), folder / "silence_latent.pt")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(remove("config.json"), "config.json is missing", id="no config"),
        pytest.param(remove("model.safetensors"), "weights are missing", id="no weights"),
        pytest.param(remove("silence_latent.pt"), "silence_latent.pt is missing", id="no silence"),
        pytest.param(
            lambda it: cut(it / "model.safetensors"), "model.safetensors can't be read", id="cut weights"
        ),
        pytest.param(
            lambda it: cut(it / "silence_latent.pt"), "silence_latent.pt can't be read", id="cut silence"
        ),
        pytest.param(
            silence_of(1, 8, 100), "has 100 frames of 8 channels, not 15000 of 8", id="short silence"
        ),
        pytest.param(silence_of(8), "holds no tensor [1, channels, frames]", id="flat silence"),
        pytest.param(lambda it: (it / "config.json").write_text("{"), "is no JSON", id="cut config"),
        pytest.param(
            lambda it: edit_config(it, model_type="llama"), "no part of ACE-Step", id="another model"
        ),
        pytest.param(
            lambda it: edit_config(it, hidden_size="wide"), "no module can be made", id="odd config"
        ),
        pytest.param(
            lambda it: edit_config(it, is_turbo=False, model_version="base"),
            "acestep-v15-turbo should be a turbo model, its config says base",
            id="another variant",
        ),
        pytest.param(
            lambda it: edit_config(it, intermediate_size=48),
            "decoder.layers.0.mlp.down_proj.weight [32, 64] instead of [32, 48]",
            id="another size",
        ),
        pytest.param(
            lambda it: edit_weights(it, lambda state: state.pop("null_condition_emb")),
            "lacks 1 tensor: null_condition_emb",
            id="no null condition",
        ),
        pytest.param(
            lambda it: edit_weights(it, lambda state: state.update(lora=torch.zeros(1))),
            "has 1 tensor: lora that its config does not know",
            id="odd tensor",
        ),
        pytest.param(
            lambda it: edit_weights(
                it, lambda state: state.update(null_condition_emb=torch.zeros(1, 1, 32, dtype=torch.int8))
            ),
            "has 1 tensor: null_condition_emb of another type than float32",
            id="quantised",
        ),
    ],
)
def test_what_is_wrong_with_a_dit_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], said: str
) -> None:
    copy(GOLDEN / "original" / TEXT_ENCODER, tmp_path)
    damage(copy(GOLDEN / "original" / TURBO, tmp_path))
    assert main(["verify", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert f"WRONG {TURBO}:" in shown
    assert said in shown
    assert f"ok    {TEXT_ENCODER}:" in shown


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("transformer/config.json", "config.json is missing"),
        ("condition_encoder/diffusion_pytorch_model.safetensors", "weights are missing"),
        ("audio_tokenizer/diffusion_pytorch_model.safetensors", "weights are missing"),
    ],
)
def test_every_component_of_the_diffusers_layout_must_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, said: str
) -> None:
    folder = copy(GOLDEN / "diffusers" / "turbo", tmp_path)
    (folder / file).unlink()
    assert main(["verify", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert said in shown
    assert file.split("/")[0] in shown


def test_models_inside_a_diffusers_checkpoint_are_checked_too(
    embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(GOLDEN / "diffusers" / "turbo", tmp_path)
    shutil.copytree(embedded / "vae", folder / "vae")
    shutil.copytree(embedded / TEXT_ENCODER, folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    shutil.move(folder / "text_encoder" / "tokenizer.json", folder / "tokenizer")
    assert main(["verify", str(tmp_path)]) == 0
    assert "ok    turbo/vae: VAE," in capsys.readouterr().out
    (folder / "tokenizer" / "tokenizer.json").unlink()
    cut(folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert main(["verify", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "WRONG turbo/vae" in shown
    assert "WRONG turbo/text_encoder" in shown
    assert "ok    turbo:" in shown


def test_a_language_model_needs_its_whole_vocabulary(
    embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(embedded / LANGUAGE_MODEL, tmp_path)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("<|audio_code_63999|>", "<|audio|>"))
    assert main(["verify", str(folder)]) == 1
    assert "no token <|audio_code_63999|>" in capsys.readouterr().out
    tokenizer.unlink()
    assert main(["verify", str(folder)]) == 1
    assert "5Hz LM" in (shown := capsys.readouterr().out)
    assert "has no tokenizer.json" in shown


def test_names_of_a_bare_language_model_and_of_one_with_a_head_are_both_taken(
    embedded: Path, tmp_path: Path
) -> None:
    folder = copy(embedded / LANGUAGE_MODEL, tmp_path)

    def bare(state: dict[str, torch.Tensor]) -> None:
        for name in list(state):
            state[name.removeprefix("model.")] = state.pop(name)

    edit_weights(folder, bare)
    assert main(["verify", str(folder)]) == 0
    edit_weights(folder, lambda state: state.update({"lm_head.weight": state["embed_tokens.weight"].clone()}))
    assert main(["verify", str(folder)]) == 0


@pytest.mark.parametrize(("made", "said"), [(False, "is no folder"), (True, "holds no checkpoint")])
def test_a_folder_without_checkpoints_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: bool, said: str
) -> None:
    folder = tmp_path / "models"
    if made:
        folder.mkdir()
    assert main(["verify", str(folder)]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"]])
def test_help(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "serve_app.admin", *arguments]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "python -m serve_app.admin" in shown
    assert "check" in shown.lower()


def test_a_wrong_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verfy"])
    assert ended.value.code == 2
    assert "verify" in capsys.readouterr().err
