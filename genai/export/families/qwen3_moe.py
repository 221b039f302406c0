"""Qwen 3's mixtures of experts: Qwen 3 with many small experts."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.qwen3_moe import QWEN3_MOE_WEIGHTS, qwen3_moe_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    window = config.optional_integer("sliding_window") if config.flag("use_sliding_window") else None
    return qwen3_moe_decoder(config, normalize=config.flag("norm_topk_prob"), window=window)


FAMILY = Family(
    architectures=("Qwen3MoeForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=QWEN3_MOE_WEIGHTS,
    defaults={
        "norm_topk_prob": False,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
        "use_sliding_window": False,
    },
)
