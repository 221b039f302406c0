"""What Qwen 3's mixtures of experts share, alone and within Qwen 3 VL."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, MoeSpec, NormSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.moe import (
    QWEN_MOE_WEIGHTS,
    dense_layers,
    expert_mlp,
    moe_decoder,
    softmax_router,
)

__all__ = ["QWEN3_MOE_WEIGHTS", "qwen3_moe_decoder"]

QWEN3_MOE_WEIGHTS: WeightMap = {
    **QWEN_MOE_WEIGHTS,
    "attention.q_norm": "layers.{i}.self_attn.q_norm",
    "attention.k_norm": "layers.{i}.self_attn.k_norm",
}


def qwen3_moe_decoder(
    config: ModelConfig, *, normalize: bool = True, window: int | None = None
) -> DecoderSpec:
    """Return the decoder.

    Args:
        config: The config.
        normalize: Whether the weights of a token's experts add up to 1.
        window: The attention window of every layer, if any.
    """
    attention = replace(llama_attention(config), qk_norm=NormSpec("rms", config.number("rms_norm_eps")))
    moe = MoeSpec(
        softmax_router(config, normalize=normalize),
        expert_mlp(config, size_key="moe_intermediate_size"),
    )
    windows = [window] * config.integer("num_hidden_layers")
    return moe_decoder(config, attention, moe, windows=windows, dense=dense_layers(config))
