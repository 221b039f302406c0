"""What Gemma 2 and VaultGemma share: soft caps on scores and logits, and a window on every other layer.

It is no family itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genai.export.architecture import DecoderSpec
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.gemma import gemma_attention, gemma_decoder
from genai.export.layouts.llama import sliding_windows

__all__ = ["GEMMA2_DEFAULTS", "gemma2_decoder"]

GEMMA2_DEFAULTS: Mapping[str, Any] = {
    "attention_bias": False,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "head_dim": 256,
    "num_key_value_heads": 4,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-6,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}


def gemma2_decoder(config: ModelConfig) -> DecoderSpec:
    """Return a decoder with four norms in every layer."""
    attention = replace(
        gemma_attention(config),
        rope=read_rope(config, head_dim=config.integer("head_dim")),
        softcap=config.optional_number("attn_logit_softcapping"),
    )
    windows = sliding_windows(config, is_sliding=lambda index: index % 2 == 0)
    return gemma_decoder(config, [replace(attention, window=window) for window in windows])
