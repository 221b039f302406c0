"""gpt-oss: experts apart, where transformers has them stacked and gate and up row by row in turn."""

from __future__ import annotations

from typing import Any

from genai.export.checkpoint.gguf.architectures.architecture import LLAMA_TENSORS, Architecture, experts_table
from genai.export.checkpoint.gguf.model import GgufModel, common_config
from genai.export.checkpoint.gguf.sources import Tensor

__all__ = ["ARCHITECTURES"]

_LAYER = "model.layers.{i}"


def _gpt_oss(model: GgufModel) -> dict[str, Any]:
    """Return a config of gpt-oss, whose YaRN does not round its bounds, which the files do not say."""
    keys, config = model.keys, common_config(model)
    return config | {
        "architectures": ["GptOssForCausalLM"],
        "intermediate_size": keys.integer("expert_feed_forward_length"),
        "num_local_experts": keys.integer("expert_count"),
        "num_experts_per_tok": keys.integer("expert_used_count"),
        "sliding_window": keys.integer("attention.sliding_window"),
        "layer_types": model.layer_types(default_period=2),
        "rope_parameters": {**config["rope_parameters"], "truncate": False},
        "experts_are_apart": True,
    }


ARCHITECTURES = (
    Architecture(
        ("gpt-oss",),
        _gpt_oss,
        {
            **LLAMA_TENSORS,
            "blk.{i}.attn_sinks": Tensor(f"{_LAYER}.self_attn.sinks"),
            "blk.{i}.post_attention_norm": f"{_LAYER}.post_attention_layernorm",
            "blk.{i}.ffn_gate_inp": f"{_LAYER}.mlp.router",
            **experts_table(*(f"{_LAYER}.mlp.experts.{{e}}.{name}_proj" for name in ("gate", "up", "down"))),
        },
    ),
)
