import pytest

from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.key_map import Component, module_arguments, to_diffusers, to_original

KEYS = [
    ("decoder.proj_in.1.weight", Component.TRANSFORMER, "proj_in_conv.weight"),
    ("decoder.proj_out.1.bias", Component.TRANSFORMER, "proj_out_conv.bias"),
    (
        "decoder.layers.3.cross_attn.o_proj.weight",
        Component.TRANSFORMER,
        "layers.3.cross_attn.to_out.0.weight",
    ),
    ("decoder.layers.0.self_attn.q_norm.weight", Component.TRANSFORMER, "layers.0.self_attn.norm_q.weight"),
    ("encoder.text_projector.weight", Component.CONDITION_ENCODER, "text_projector.weight"),
    ("null_condition_emb", Component.CONDITION_ENCODER, "null_condition_emb"),
    (
        "tokenizer.attention_pooler.layers.1.self_attn.k_proj.weight",
        Component.AUDIO_TOKENIZER,
        "attention_pooler.layers.1.self_attn.to_k.weight",
    ),
    (
        "detokenizer.layers.0.self_attn.v_proj.weight",
        Component.AUDIO_TOKEN_DETOKENIZER,
        "layers.0.self_attn.to_v.weight",
    ),
]


@pytest.mark.parametrize(("original", "component", "diffusers"), KEYS)
def test_keys_map_both_ways(original: str, component: Component, diffusers: str) -> None:
    assert to_diffusers(original) == (component, diffusers)
    assert to_original(component, diffusers) == original


def test_a_key_of_another_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"lm_head\.weight"):
        to_diffusers("lm_head.weight")


def test_a_config_without_a_size_names_it() -> None:
    with pytest.raises(CheckpointError, match="num_hidden_layers"):
        module_arguments(Component.TRANSFORMER, {"hidden_size": 8})
