"""Phi 2, and Phi 3 to 4, which keep transformers' fused projections."""

from __future__ import annotations

from typing import Any

from genai.export.checkpoint.gguf.architectures.architecture import LLAMA_TENSORS, Architecture
from genai.export.checkpoint.gguf.model import GgufModel, common_config

__all__ = ["ARCHITECTURES"]

_LAYER = "model.layers.{i}"


def _phi2(model: GgufModel) -> dict[str, Any]:
    return common_config(model) | {"architectures": ["PhiForCausalLM"], "hidden_act": "gelu_new"}


def _phi3(model: GgufModel) -> dict[str, Any]:
    """Return a config of Phi 3; a window of 0 is none."""
    config = common_config(model)
    original = model.keys.optional_integer("rope.scaling.original_context_length")
    return config | {
        "architectures": ["Phi3ForCausalLM"],
        "original_max_position_embeddings": original or config["max_position_embeddings"],
        "sliding_window": model.keys.integer("attention.sliding_window", 0, minimum=0) or None,
    }


ARCHITECTURES = (
    Architecture(
        ("phi2",),
        _phi2,
        {
            **LLAMA_TENSORS,
            "output_norm": "model.final_layernorm",
            "blk.{i}.attn_output": f"{_LAYER}.self_attn.dense",
            "blk.{i}.ffn_up": f"{_LAYER}.mlp.fc1",
            "blk.{i}.ffn_down": f"{_LAYER}.mlp.fc2",
        },
    ),
    Architecture(
        ("phi3",),
        _phi3,
        {
            **LLAMA_TENSORS,
            "blk.{i}.attn_qkv": f"{_LAYER}.self_attn.qkv_proj",
            "blk.{i}.ffn_up": f"{_LAYER}.mlp.gate_up_proj",
        },
        ignored=("rope_factors_long.weight", "rope_factors_short.weight"),
    ),
)
