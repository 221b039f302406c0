"""Gemma 1 to 3: norms stored as factors, where transformers adds 1; scales that llama.cpp knows by the model's size."""

from __future__ import annotations

from typing import Any

from genai.export.checkpoint.gguf.architectures.architecture import LLAMA_TENSORS, Architecture, Table
from genai.export.checkpoint.gguf.model import GgufModel, common_config
from genai.export.checkpoint.gguf.sources import Shifted

__all__ = ["ARCHITECTURES"]

_LAYER = "model.layers.{i}"

_GEMMA: Table = {
    **LLAMA_TENSORS,
    "output_norm": Shifted("model.norm"),
    "blk.{i}.attn_norm": Shifted(f"{_LAYER}.input_layernorm"),
    "blk.{i}.ffn_norm": Shifted(f"{_LAYER}.post_attention_layernorm"),
}
_GEMMA2: Table = {
    **_GEMMA,
    "blk.{i}.ffn_norm": Shifted(f"{_LAYER}.pre_feedforward_layernorm"),
    "blk.{i}.post_attention_norm": Shifted(f"{_LAYER}.post_attention_layernorm"),
    "blk.{i}.post_ffw_norm": Shifted(f"{_LAYER}.post_feedforward_layernorm"),
}
_GEMMA3: Table = {
    **_GEMMA2,
    "blk.{i}.attn_q_norm": Shifted(f"{_LAYER}.self_attn.q_norm"),
    "blk.{i}.attn_k_norm": Shifted(f"{_LAYER}.self_attn.k_norm"),
}
_LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}


def _gemma(model: GgufModel) -> dict[str, Any]:
    return common_config(model) | {"architectures": ["GemmaForCausalLM"], "hidden_act": "gelu_pytorch_tanh"}


def _gemma2(model: GgufModel) -> dict[str, Any]:
    keys = model.keys
    return common_config(model) | {
        "architectures": ["Gemma2ForCausalLM"],
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": _query_scalar(model),
        "sliding_window": keys.integer("attention.sliding_window", 4096),
        "attn_logit_softcapping": keys.optional_number("attn_logit_softcapping"),
        "final_logit_softcapping": keys.optional_number("final_logit_softcapping"),
    }


def _gemma3(model: GgufModel) -> dict[str, Any]:
    """Return a config of Gemma 3; without a window it is none of Google's, and all layers see everything."""
    keys, config = model.keys, common_config(model)
    window = keys.integer("attention.sliding_window", 0, minimum=0)
    local = {"rope_type": "default", "rope_theta": keys.positive("rope.freq_base_swa", 10000.0)}
    return config | {
        "architectures": ["Gemma3ForCausalLM"],
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": _query_scalar(model),
        "sliding_window": window or None,
        "layer_types": model.layer_types(default_period=6 if window else 1),
        "final_logit_softcapping": keys.optional_number("final_logit_softcapping"),
        "rope_parameters": {"full_attention": config["rope_parameters"], "sliding_attention": local},
    }


def _query_scalar(model: GgufModel) -> int:
    """What scores are divided by the root of: a head's width, but for the 27B models."""
    is_27b = model.keys.integer("block_count") == _LAYERS_OF_27B[model.architecture]
    if is_27b:
        return model.keys.integer("embedding_length") // model.one_for_all_layers("attention.head_count")
    return model.keys.integer("attention.key_length")


ARCHITECTURES = (
    Architecture(("gemma",), _gemma, _GEMMA),
    Architecture(("gemma2",), _gemma2, _GEMMA2),
    Architecture(("gemma3",), _gemma3, _GEMMA3),
)
