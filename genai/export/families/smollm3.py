"""SmolLM 3: llama without positions on every fourth layer."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import (
    LLAMA_WEIGHTS,
    layers_with_rope,
    llama_attention,
    pre_norm_decoder,
    sliding_windows,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    has_rope = layers_with_rope(config)
    may_slide = config.flag("use_sliding_window")
    windows = sliding_windows(config, is_sliding=lambda index: may_slide and not has_rope[index])
    attention = llama_attention(config)
    return pre_norm_decoder(
        config,
        [
            replace(attention, window=window, rope=attention.rope if rotates else None)
            for window, rotates in zip(windows, has_rope, strict=True)
        ],
    )


FAMILY = Family(
    architectures=("SmolLM3ForCausalLM",),
    model_type="smollm3",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={
        "no_rope_layer_interval": 4,
        "num_key_value_heads": 4,
        "rope_theta": 2000000.0,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    },
)
