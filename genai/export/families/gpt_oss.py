"""gpt-oss: attention sinks, windows on every other layer, clamped experts with biases, published in MXFP4.

Of MXFP4 experts, int8 keeps what matters (0.5 % root mean square error in blocks of 32); int4 loses 7 %, since its 16
equidistant codes do not hold the numbers 0, 0.5, 1, 1.5, 2, 3, 4 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genai.export.architecture import ClampedGate, DecoderSpec, MoeSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, Named, Transposed, WeightMap
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, sliding_windows
from genai.export.layouts.moe import QWEN_MOE_WEIGHTS, expert_mlp, moe_decoder, softmax_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    if "rope_scaling" not in config:
        config = config.filled(rope_parameters=_ROPE)
    moe = MoeSpec(
        softmax_router(config, bias=True),
        replace(expert_mlp(config), bias=True),
        clamped_gate=ClampedGate(config.number("swiglu_alpha"), config.positive("swiglu_limit")),
    )
    windows = sliding_windows(config, is_sliding=lambda index: index % 2 == 0)
    return moe_decoder(config, replace(llama_attention(config), sinks=True), moe, windows=windows)


def weights(config: ModelConfig) -> WeightMap:
    """Gate and up lie row by row in turn; in GGUF files every expert has its own matrices, as `experts_are_apart` says."""
    if config.flag("experts_are_apart", False):
        return {
            **QWEN_MOE_WEIGHTS,
            "attention.sinks": "layers.{i}.self_attn.sinks",
            "mlp.router": "layers.{i}.mlp.router",
        }
    gate_up, down = (
        Transposed(Named(f"layers.{{i}}.mlp.experts.{name}", f"layers.{{i}}.mlp.experts.{name}_bias"))
        for name in ("gate_up_proj", "down_proj")
    )
    return {
        **LLAMA_WEIGHTS,
        "attention.sinks": "layers.{i}.self_attn.sinks",
        "mlp.router": "layers.{i}.mlp.router",
        ("mlp.experts.gate", "mlp.experts.up"): Grouped(gate_up, config.integer("intermediate_size")),
        "mlp.experts.down": down,
    }


_ROPE: Mapping[str, Any] = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
"""What a config without rotary parameters means."""


FAMILY = Family(
    architectures=("GptOssForCausalLM",),
    model_type="gptoss",
    spec=spec,
    weights=weights,
    defaults={
        "attention_bias": True,
        "head_dim": 64,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 150000.0,
        "sliding_window": 128,
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
    },
)
