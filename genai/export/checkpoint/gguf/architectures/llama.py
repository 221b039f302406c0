"""Llama and what llama.cpp stores like it: Mistral, Mixtral, SmolLM, Granite; rotations of neighbours, so permuted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai.export.checkpoint.gguf.architectures.architecture import (
    LLAMA_TENSORS,
    Architecture,
    Table,
    experts_table,
)
from genai.export.checkpoint.gguf.model import GgufModel, common_config
from genai.export.checkpoint.gguf.sources import Permuted

__all__ = ["ARCHITECTURES"]

_ATTENTION = "model.layers.{i}.self_attn"

_TENSORS: Table = {
    **LLAMA_TENSORS,
    "blk.{i}.attn_q": Permuted(f"{_ATTENTION}.q_proj", "num_attention_heads"),
    "blk.{i}.attn_k": Permuted(f"{_ATTENTION}.k_proj", "num_key_value_heads"),
}


def _llama(model: GgufModel) -> dict[str, Any]:
    """Return a config of Llama; of Mixtral where there are experts, of Mistral where attention has a window."""
    config = _with_biases(model, common_config(model))
    if model.keys.integer("expert_count", 0, minimum=0):
        return config | {
            "architectures": ["MixtralForCausalLM"],
            "num_local_experts": model.keys.integer("expert_count"),
            "num_experts_per_tok": model.keys.integer("expert_used_count"),
        }
    window = model.keys.integer("attention.sliding_window", 0, minimum=0)
    if window:
        return config | {"architectures": ["MistralForCausalLM"], "sliding_window": window}
    return config | {"architectures": ["LlamaForCausalLM"]}


def _llama_tensors(config: Mapping[str, Any]) -> Table:
    if "num_local_experts" not in config:
        return _TENSORS
    moe = "model.layers.{i}.block_sparse_moe"
    experts = experts_table(*(f"{moe}.experts.{{e}}.{name}" for name in ("w1", "w3", "w2")))
    return {**_TENSORS, **experts, "blk.{i}.ffn_gate_inp": f"{moe}.gate"}


def _smollm3(model: GgufModel) -> dict[str, Any]:
    """Return a config of SmolLM 3; llama.cpp has no key for the layers without positions, every fourth."""
    return common_config(model) | {"architectures": ["SmolLM3ForCausalLM"], "no_rope_layer_interval": 4}


def _granite(model: GgufModel) -> dict[str, Any]:
    keys = model.keys
    return _with_biases(model, common_config(model)) | {
        "architectures": ["GraniteForCausalLM"],
        "attention_multiplier": keys.positive("attention.scale", 1.0),
        "embedding_multiplier": keys.number("embedding_scale", 1.0),
        "residual_multiplier": keys.number("residual_scale", 1.0),
        "logits_scaling": keys.positive("logit_scale", 1.0),
    }


def _with_biases(model: GgufModel, config: dict[str, Any]) -> dict[str, Any]:
    return config | {
        "attention_bias": model.has("blk.0.attn_q.bias"),
        "mlp_bias": model.has("blk.0.ffn_gate.bias"),
    }


ARCHITECTURES = (
    Architecture(("llama", "mistral"), _llama, _llama_tensors),
    Architecture(("smollm3",), _smollm3, _TENSORS),
    Architecture(("granite",), _granite, _TENSORS),
)
