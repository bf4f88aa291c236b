"""Defines the sizes of the models and the effort of their training. All numbers of the recipe are here."""

from dataclasses import dataclass, replace
from typing import Any

from configs.domain import AUDIO_CHANNELS, SAMPLE_RATE
from training.songs.description import DURATIONS

LATENT_CHANNELS = 32

VAE_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderOobleck",
    "audio_channels": AUDIO_CHANNELS,
    # The subbands are 32 at 1.5 kHz, then 250 Hz and 25 Hz follow. The first upsampling stays tenfold, so
    # that a frame influences no more samples than in the official decoder, which the codec's tiles rely on.
    "channel_multiples": [2, 3, 4],
    "decoder_channels": 64,
    "decoder_input_channels": LATENT_CHANNELS,
    "downsampling_ratios": [32, 6, 10],
    "encoder_hidden_size": 2 * LATENT_CHANNELS,
    "sampling_rate": SAMPLE_RATE,
}


HIDDEN_SIZE = 192
_DIT_LAYERS = 6

DIT_CONFIG: dict[str, Any] = {
    "architectures": ["AceStepConditionGenerationModel"],
    "model_type": "acestep",
    "model_version": "turbo",
    "is_turbo": True,
    "dtype": "float16",
    "hidden_size": HIDDEN_SIZE,
    "intermediate_size": 512,
    "num_hidden_layers": _DIT_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 48,
    "layer_types": [("sliding_attention", "full_attention")[layer % 2] for layer in range(_DIT_LAYERS)],
    "use_sliding_window": True,
    "sliding_window": 128,
    "rope_theta": 1_000_000,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "in_channels": 3 * LATENT_CHANNELS,
    "patch_size": 2,
    "audio_acoustic_hidden_dim": LATENT_CHANNELS,
    "timbre_hidden_dim": LATENT_CHANNELS,
    "timbre_fix_frame": 750,
    "text_hidden_dim": 128,
    "num_lyric_encoder_hidden_layers": 1,
    "num_timbre_encoder_hidden_layers": 1,
    "num_attention_pooler_hidden_layers": 1,
    "pool_window_size": 5,
    "fsq_dim": HIDDEN_SIZE,
    "fsq_input_levels": [8, 8, 8, 5, 5, 5],
    "fsq_input_num_quantizers": 1,
}

TEXT_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3Model"],
    "model_type": "qwen3",
    "dtype": "float16",
    "vocab_size": 1024,
    "hidden_size": DIT_CONFIG["text_hidden_dim"],
    "intermediate_size": 320,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "rope_theta": 1_000_000,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}


LANGUAGE_MODEL_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "dtype": "float16",
    "hidden_size": 96,
    "intermediate_size": 320,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 40_960,
    "rope_theta": 1_000_000,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Learning:
    """How one stage learns."""

    steps: int
    batch: int
    rate: float
    """The highest learning rate.

    It is reached after the warm-up and falls to a tenth of it along a cosine.
    """
    warm_up: int = 200
    clip: float = 1.0
    """Largest norm of the gradient."""
    averaging: float = 0.999
    """Decay of the moving average of the weights, which is the result of the stage."""
    save_every: int = 500
    """Number of steps between two saves."""


@dataclass(frozen=True)
class Recipe:
    """Everything that differs between a real run and a test."""

    blocks: int
    """Blocks of songs that are rendered for training."""
    block_songs: int
    """Songs in a block. They all have the same duration."""
    durations: tuple[int, ...]
    vae: dict[str, Any]
    codec: Learning
    codec_seconds: float
    """Length of the codec's excerpts."""
    decoder: Learning
    """The second training of the codec's decoder."""
    dit: dict[str, Any]
    compiled: bool
    """Whether the layers of the language model and the teacher are compiled."""
    text: dict[str, Any]
    codes: Learning
    """The FSQ tokenizer and its detokenizer."""
    language_model: dict[str, Any]
    song_writer: Learning
    """The language model."""
    teacher: Learning
    """The DiT with its condition encoders, which needs many guided steps."""
    turbo: Learning
    """The same model distilled into eight steps."""

    def with_effort(self, effort: float) -> "Recipe":
        """Return the recipe with `effort` times the steps of every stage."""

        def scaled(learning: Learning) -> Learning:
            return replace(learning, steps=max(1, round(effort * learning.steps)))

        return replace(
            self,
            codec=scaled(self.codec),
            decoder=scaled(self.decoder),
            codes=scaled(self.codes),
            song_writer=scaled(self.song_writer),
            teacher=scaled(self.teacher),
            turbo=scaled(self.turbo),
        )


FULL = Recipe(
    blocks=522,
    block_songs=16,
    durations=DURATIONS,
    vae=VAE_CONFIG,
    codec=Learning(steps=6_500, batch=2, rate=1e-3),
    codec_seconds=1.28,
    decoder=Learning(steps=9_000, batch=2, rate=5e-4),
    dit=DIT_CONFIG,
    compiled=True,
    text=TEXT_CONFIG,
    codes=Learning(steps=3_000, batch=32, rate=2e-3),
    language_model=LANGUAGE_MODEL_CONFIG,
    song_writer=Learning(steps=12_000, batch=24, rate=1.5e-3),
    teacher=Learning(steps=15_500, batch=16, rate=1e-3, averaging=0.998),
    turbo=Learning(steps=500, batch=8, rate=2e-4),
)

QUICK = replace(
    FULL,
    blocks=2,
    block_songs=2,
    durations=(6,),
    vae=VAE_CONFIG | {"channel_multiples": [1, 1, 1]},
    codec=Learning(steps=4, batch=2, rate=1e-3, warm_up=1, save_every=2),
    codec_seconds=0.32,
    decoder=Learning(steps=2, batch=2, rate=1e-3, warm_up=1, save_every=2),
    dit=DIT_CONFIG
    | {
        "hidden_size": 32,
        "intermediate_size": 64,
        "head_dim": 16,
        "num_hidden_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"],
        "text_hidden_dim": 32,
        "fsq_dim": 32,
    },
    compiled=False,
    text=TEXT_CONFIG | {"hidden_size": 32, "intermediate_size": 64, "head_dim": 16, "num_hidden_layers": 1},
    codes=Learning(steps=3, batch=2, rate=1e-3, warm_up=1, save_every=2),
    language_model=LANGUAGE_MODEL_CONFIG
    | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
    song_writer=Learning(steps=3, batch=4, rate=1e-3, warm_up=1, save_every=2),
    teacher=Learning(steps=3, batch=2, rate=1e-3, warm_up=1, save_every=2),
    turbo=Learning(steps=2, batch=2, rate=1e-3, warm_up=1, save_every=2),
)
"""Recipe for tests. Every stage takes seconds and learns nothing."""
