"""What decoders in GPT-2's manner share: feed-forward blocks without a gate, these config keys, layers in two forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genai.export.architecture import (
    ACTIVATIONS,
    AttentionSpec,
    DecoderSpec,
    LayerSpec,
    MlpSpec,
    NormSpec,
)
from genai.export.architecture.rope import RopeSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import refuse_foreign_parts

__all__ = ["GPT_ALIASES", "gpt2_decoder", "gpt_mlp", "gptj_decoder"]

GPT_ALIASES: Mapping[str, str] = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
"""Other names of GPT-2's keys, for `Family.aliases`."""


def gpt_mlp(
    config: ModelConfig,
    *,
    size_key: str = "intermediate_size",
    default_size: int | None = None,
    activation_key: str = "hidden_act",
    bias: bool = True,
) -> MlpSpec:
    """Return a feed-forward block without a gate; without a default the key of its size is required."""
    return MlpSpec(
        intermediate_size=config.integer(size_key, default_size),
        activation=ACTIVATIONS[config.choice(activation_key, ACTIVATIONS)],
        gated=False,
        bias=bias,
    )


def gpt2_decoder(config: ModelConfig, attentions: Sequence[AttentionSpec]) -> DecoderSpec:
    """Return GPT-2's decoder with a layer for each of these attentions: learned positions, two norms a layer."""
    refuse_foreign_parts(config)
    norm = NormSpec("layer", config.number("layer_norm_epsilon"), bias=True)
    mlp = _gpt2_mlp(config)
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=config.integer("n_embd"),
        max_positions=config.integer("n_positions"),
        layers=tuple(LayerSpec(attention, mlp, input_norm=norm, mlp_norm=norm) for attention in attentions),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings"),
        learned_positions=config.integer("n_positions"),
    )


def gptj_decoder(config: ModelConfig) -> DecoderSpec:
    """Return GPT-J's decoder: parallel layers, neighbouring dimensions rotated together, a head with a bias."""
    refuse_foreign_parts(config)
    hidden_size, num_heads = config.integer("n_embd"), config.integer("n_head")
    norm = NormSpec("layer", config.number("layer_norm_epsilon"), bias=True)
    rope = RopeSpec(config.integer("rotary_dim"), 10000.0, interleaved=True)
    layer = LayerSpec(
        AttentionSpec(num_heads, num_heads, hidden_size // num_heads, rope=rope),
        _gpt2_mlp(config),
        input_norm=norm,
        parallel=True,
    )
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=config.integer("n_positions"),
        layers=(layer,) * config.integer("n_layer"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings"),
        head_bias=True,
    )


def _gpt2_mlp(config: ModelConfig) -> MlpSpec:
    default_size = 4 * config.integer("n_embd")
    return gpt_mlp(
        config, size_key="n_inner", default_size=default_size, activation_key="activation_function"
    )
