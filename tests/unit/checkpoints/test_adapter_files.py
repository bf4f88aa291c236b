"""Adapter files: every form is understood, and what does not fit or is damaged is refused by name."""

import json
import math
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.checkpoints.adapters.errors import AdapterError
from deployments.checkpoints.adapters.finite import first_not_finite
from deployments.checkpoints.adapters.folders import AdapterFile, adapter_files
from deployments.checkpoints.adapters.linears import decoder_linears, linear_named
from deployments.checkpoints.adapters.outline import Decomposition, Form, misfits
from deployments.checkpoints.adapters.reading import Adapter, LowRank, read_adapter
from deployments.checkpoints.adapters.shelf import LISTED_SECONDS, AdapterShelf
from deployments.checkpoints.layouts import original_dit_layout
from deployments.checkpoints.official_shapes import official_config
from tests.adapters import (
    CHECKPOINTS,
    CONFIG,
    DAMAGED,
    GOLDEN_ADAPTERS,
    Q,
    linears_of,
    pair,
    write_lora,
    write_tensors,
)


def golden(name: str) -> AdapterFile:
    return adapter_files([str(GOLDEN_ADAPTERS)])[name]


def read(file: AdapterFile) -> Adapter:
    return read_adapter(file.content(), file.outline)


def matrix(adapter: Adapter, linear: str) -> torch.Tensor:
    return adapter.changes[linear].delta.matrix()


@pytest.mark.parametrize("variant", ["turbo", "xl-turbo"])
def test_the_matrices_of_a_dit_follow_from_its_config(variant: str) -> None:
    tiny = json.loads((CHECKPOINTS / f"acestep-v15-{variant}" / "config.json").read_text())
    for config in (tiny, official_config(f"acestep-v15-{variant}")):
        layout = original_dit_layout(config)
        for name, (rows, columns) in decoder_linears(config).items():
            shape = layout[f"decoder.{name}.weight"]
            assert (shape[0], math.prod(shape[1:])) == (rows, columns), name


@pytest.mark.parametrize(
    ("name", "form", "rank", "rule"),
    [
        ("style", Form.PEFT, 4, None),
        ("patterns", Form.PEFT, 6, None),
        ("dora", Form.PEFT, 4, Decomposition.PEFT),
        ("style_diffusers", Form.DIFFUSERS, 4, None),
        ("drums_comfyui", Form.LORA, 4, None),
        ("drums_lora_unet", Form.LORA, 4, None),
        ("texture", Form.LOKR, 2, None),
        ("wide_lokr", Form.LOKR, None, None),
        ("dora_lokr", Form.LOKR, 2, Decomposition.LYCORIS),
    ],
)
def test_the_form_follows_from_the_keys(
    name: str, form: Form, rank: int | None, rule: Decomposition | None
) -> None:
    outline = golden(name).outline
    assert (outline.form, outline.rank, outline.decomposition) == (form, rank, rule)
    assert list(misfits(outline, linears_of("turbo"))) == []
    assert outline.warnings == ()


def test_the_same_numbers_in_two_forms_are_one_adapter() -> None:
    peft, diffusers, other = (read(golden(name)) for name in ("style", "style_diffusers", "voice"))
    assert peft.identity == diffusers.identity != other.identity


def test_names_of_matrices_in_all_spellings() -> None:
    for written, name in {
        "base_model.model.layers.3.self_attn.q_proj": "layers.3.self_attn.q_proj",
        "diffusion_model.decoder.layers.3.mlp.up_proj": "layers.3.mlp.up_proj",
        "diffusion_model.layers.3.mlp.up_proj": "layers.3.mlp.up_proj",
        "layers.3.cross_attn.o_proj": "layers.3.cross_attn.o_proj",
        "transformer.layers.3.cross_attn.to_out.0": "layers.3.cross_attn.o_proj",
        "lora_unet_decoder_layers_31_self_attn_q_proj": "layers.31.self_attn.q_proj",
        "lycoris_layers_0_mlp_down_proj": "layers.0.mlp.down_proj",
        "lycoris_time_embed_r_time_proj": "time_embed_r.time_proj",
        "lycoris_time_embed_linear_1": "time_embed.linear_1",
        "lycoris_proj_in_1": "proj_in.1",
        "lycoris_condition_embedder": "condition_embedder",
    }.items():
        assert linear_named(written) == name
    assert linear_named("layers.3.self_attn.q_norm") is None


def test_patterns_decide_the_strength_of_single_matrices() -> None:
    scales = {change.linear: change.scale for change in golden("patterns").outline.changes}
    assert scales["layers.1.self_attn.q_proj"] == 16 / 2
    assert scales["layers.0.self_attn.q_proj"] == 8 / 4
    assert scales["layers.0.cross_attn.k_proj"] == 2 / 4
    assert scales["layers.0.mlp.down_proj"] == 8 / 6


def test_rslora_divides_by_the_root_of_the_rank() -> None:
    (scale,) = {change.scale for change in golden("voice").outline.changes}
    assert scale == 4 / 2


def test_a_file_without_alpha_is_used_as_it_is_with_a_warning(tmp_path: Path) -> None:
    write_tensors(tmp_path / "bare.safetensors", pair())
    file = adapter_files([str(tmp_path)])["bare"]
    delta = read(file).changes["layers.0.self_attn.q_proj"].delta
    assert isinstance(delta, LowRank)
    assert delta.scale == 1.0
    assert "names no alpha" in file.outline.warnings[0]


def test_the_file_of_a_folder_without_its_config_is_used_as_it_is_with_a_warning(tmp_path: Path) -> None:
    (write_lora(tmp_path, "lone", 1) / "adapter_config.json").unlink()
    file = adapter_files([str(tmp_path)])["lone"]
    assert {change.scale for change in file.outline.changes} == {1.0}
    assert file.outline.warnings


def test_matrices_that_stay_as_they_are_are_left_out() -> None:
    file = golden("texture")
    assert len(read(file).changes) < len(file.outline.changes)


def test_alpha_is_ignored_where_both_factors_of_a_lokr_are_whole() -> None:
    assert {change.scale for change in golden("wide_lokr").outline.changes} == {1.0}


def test_loha_is_the_product_of_two_changes_number_by_number(tmp_path: Path) -> None:
    factors = {name: torch.randn(shape) for name, shape in _LOHA.items()}
    write_tensors(tmp_path / "loha.safetensors", {f"{Q}.{name}": each for name, each in factors.items()})
    found = matrix(read(adapter_files([str(tmp_path)])["loha"]), "layers.0.self_attn.q_proj")
    wanted = (factors["hada_w1_a"] @ factors["hada_w1_b"]) * (factors["hada_w2_a"] @ factors["hada_w2_b"])
    torch.testing.assert_close(found, wanted)


_LOHA = {"hada_w1_a": (32, 3), "hada_w1_b": (3, 32), "hada_w2_a": (32, 3), "hada_w2_b": (3, 32)}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_adapters_are_refused_by_name(damage: str, tmp_path: Path) -> None:
    write, message = DAMAGED[damage]
    write(tmp_path)
    with pytest.raises(AdapterError) as refusal:
        _ = adapter_files([str(tmp_path)])["bad"].outline
    assert message in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)


def test_an_adapter_for_another_model_is_told_by_its_first_matrix() -> None:
    (first, *_) = misfits(golden("xl_style").outline, linears_of("turbo"))
    assert first == (
        "base_model.model.layers.0.cross_attn.k_proj.lora_A.weight is for a matrix [16, 48], and the model's "
        "is [16, 32]"
    )


def test_an_adapter_with_too_many_layers_is_told(tmp_path: Path) -> None:
    write_tensors(tmp_path / "deep.safetensors", pair(key="layers.99.self_attn.q_proj"))
    (misfit,) = misfits(adapter_files([str(tmp_path)])["deep"].outline, linears_of("turbo"))
    assert "layers.99.self_attn.q_proj, which the model does not have" in misfit


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_found(tmp_path: Path, dtype: torch.dtype, bad: float) -> None:
    tensors = {key: tensor.to(dtype) for key, tensor in pair().items()}
    tensors[f"{Q}.lora_B.weight"][5, 1] = bad
    write_tensors(tmp_path / "bad.safetensors", tensors)
    file = adapter_files([str(tmp_path)])["bad"]
    assert first_not_finite(file.content(), file.header) == f"{Q}.lora_B.weight"
    with pytest.raises(AdapterError, match=r"lora_B\.weight has numbers that are not finite"):
        read(file)


def test_finite_numbers_of_any_size_are_taken(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        limits = torch.finfo(dtype)
        tensors = {f"{Q}.lora_A.weight": torch.tensor([[limits.max, limits.min, limits.tiny, 0.0]]).to(dtype)}
        tensors[f"{Q}.lora_B.weight"] = torch.ones(4, 1, dtype=dtype)
        write_tensors(tmp_path / "wide.safetensors", tensors)
        file = adapter_files([str(tmp_path)])["wide"]
        assert first_not_finite(file.content(), file.header) is None


def test_folders_are_searched_as_trainers_write_them(tmp_path: Path) -> None:
    write_lora(tmp_path, "plain", 1)
    write_lora(tmp_path / "upstream", "adapter", 2)
    write_tensors(tmp_path / "own_name" / "my_lora_v2.safetensors", pair())
    write_tensors(tmp_path / "several" / "a.safetensors", pair())
    write_tensors(tmp_path / "several" / "b.safetensors", pair())
    write_tensors(tmp_path / "single.safetensors", pair())
    (tmp_path / "plain" / "training_state.pt").write_bytes(b"\x80")
    (tmp_path / "notes.txt").write_text("no adapter")
    found = adapter_files([str(tmp_path), str(tmp_path / "missing")])
    assert set(found) == {"plain", "upstream", "own_name", "single"}
    assert found["upstream"].uri.endswith("upstream/adapter/adapter_model.safetensors")


def test_of_two_adapters_with_one_name_that_of_the_first_folder_counts(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_lora(tmp_path / folder, "folk", 1)
    assert "first" in adapter_files([str(tmp_path / "first"), str(tmp_path / "second")])["folk"].uri


@pytest.mark.parametrize("name", ["../folk", "folk/../folk", "/etc/passwd", ".", "..", "", "folk/", "x\0"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    write_lora(tmp_path / "shelf", "folk", 1)
    write_lora(tmp_path, "outside", 1)
    shelf = AdapterShelf([str(tmp_path / "shelf")])
    assert shelf.find(name) is None
    assert shelf.find("../outside") is None
    assert shelf.find("folk") is not None


def test_a_file_may_be_named_with_its_ending(tmp_path: Path) -> None:
    write_tensors(tmp_path / "drums.safetensors", pair())
    shelf = AdapterShelf([str(tmp_path)])
    assert shelf.find("drums.safetensors") == shelf.find("drums") is not None


def test_a_shelf_keeps_what_it_read_until_a_file_is_replaced(tmp_path: Path) -> None:
    now = 0.0
    shelf = AdapterShelf([str(tmp_path)], lambda: now)
    write_lora(tmp_path, "folk", 1)
    first = shelf.find("folk")
    now += LISTED_SECONDS
    assert shelf.find("folk") is first
    (tmp_path / "folk" / "adapter_config.json").write_text(json.dumps({**CONFIG, "lora_alpha": 80}))
    write_lora(tmp_path, "new", 2)
    assert shelf.find("new") is None
    now += LISTED_SECONDS
    assert shelf.find("new") is not None
    second = shelf.find("folk")
    assert first is not None
    assert second is not None
    assert first.version != second.version


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_to_a_file_is_an_adapter_error_or_none(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes of real files are changed, cut and doubled; nothing but AdapterError may come of it."""
    source = data.draw(st.sampled_from(sorted(GOLDEN_ADAPTERS.glob("*.safetensors"))))
    content = bytearray(source.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.one_of(st.integers(0, header - 1), st.integers(0, len(content) - 1)))
        content[where : where + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    file = tmp_path / "damaged.safetensors"
    file.write_bytes(content)
    adapter = adapter_files([str(tmp_path)])["damaged"]
    with suppress(AdapterError):
        read_adapter(adapter.content(), adapter.outline)
