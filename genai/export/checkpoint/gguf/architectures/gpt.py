"""Decoders with layer norms: GPT-2, Falcon, StarCoder 2, StableLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from genai.export.checkpoint.gguf.architectures.architecture import LLAMA_TENSORS, Architecture
from genai.export.checkpoint.gguf.model import GgufModel, common_config
from genai.export.checkpoint.gguf.sources import ByPart, Reordered, Transposed

__all__ = ["ARCHITECTURES"]

_LAYER = "model.layers.{i}"


def _gpt2(model: GgufModel) -> dict[str, Any]:
    common = common_config(model)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": common["hidden_size"],
        "n_layer": common["num_hidden_layers"],
        "n_head": common["num_attention_heads"],
        "n_positions": model.tensors["position_embd.weight"].shape[0],
        "n_inner": model.tensors["blk.0.ffn_up.weight"].shape[0],
        "vocab_size": common["vocab_size"],
        "layer_norm_epsilon": common["layer_norm_eps"],
        "tie_word_embeddings": common["tie_word_embeddings"],
    }


def _falcon(model: GgufModel) -> dict[str, Any]:
    """Return a config of Falcon; the files do not say which architecture, but the larger ones have a second norm."""
    common = common_config(model)
    is_new = model.has("blk.0.attn_norm_2.weight")
    num_kv_heads = common["num_key_value_heads"]
    return common | {
        "architectures": ["FalconForCausalLM"],
        "ffn_hidden_size": model.tensors["blk.0.ffn_up.weight"].shape[0],
        "layer_norm_epsilon": common["layer_norm_eps"],
        "new_decoder_architecture": is_new,
        "num_kv_heads": num_kv_heads,
        "multi_query": num_kv_heads == 1,
        "bias": model.has("blk.0.attn_qkv.bias"),
    }


def _falcon_order(config: Mapping[str, Any]) -> Any:
    """Queries, keys and values of one group after the other, where the file has all queries first, then all keys."""
    num_heads, groups = config["num_attention_heads"], config["num_kv_heads"]
    head_dim = config["hidden_size"] // num_heads
    heads = np.concatenate(
        [
            np.arange(num_heads).reshape(groups, -1),
            num_heads + np.arange(groups)[:, None],
            num_heads + groups + np.arange(groups)[:, None],
        ],
        axis=1,
    )
    return (heads.reshape(-1, 1) * head_dim + np.arange(head_dim)).reshape(-1)


def _falcon_tensors(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name the weights: where there are two norms, `attn_norm_2` is the one before attention."""
    layer = "transformer.h.{i}"
    first = "ln_mlp" if config["new_decoder_architecture"] else "input_layernorm"
    return {
        "token_embd": "transformer.word_embeddings",
        "output_norm": "transformer.ln_f",
        "output": "lm_head",
        "blk.{i}.attn_norm": f"{layer}.{first}",
        "blk.{i}.attn_norm_2": f"{layer}.ln_attn",
        "blk.{i}.attn_qkv": Reordered(f"{layer}.self_attention.query_key_value", _falcon_order),
        "blk.{i}.attn_output": f"{layer}.self_attention.dense",
        "blk.{i}.ffn_up": f"{layer}.mlp.dense_h_to_4h",
        "blk.{i}.ffn_down": f"{layer}.mlp.dense_4h_to_h",
    }


def _starcoder2(model: GgufModel) -> dict[str, Any]:
    common = common_config(model)
    return common | {
        "architectures": ["Starcoder2ForCausalLM"],
        "norm_epsilon": common["layer_norm_eps"],
        "use_bias": model.has("blk.0.attn_q.bias"),
        "sliding_window": model.keys.integer("attention.sliding_window", 0, minimum=0) or None,
    }


def _stablelm(model: GgufModel) -> dict[str, Any]:
    return common_config(model) | {
        "architectures": ["StableLmForCausalLM"],
        "use_qkv_bias": model.has("blk.0.attn_q.bias"),
        "qk_layernorm": model.has("blk.0.attn_q_norm.weight"),
        "use_parallel_residual": not model.has("blk.0.ffn_norm.weight"),
    }


ARCHITECTURES = (
    Architecture(
        ("gpt2",),
        _gpt2,
        {
            "token_embd": "transformer.wte",
            "position_embd": "transformer.wpe",
            "output_norm": "transformer.ln_f",
            "output": "lm_head",
            "blk.{i}.attn_norm": "transformer.h.{i}.ln_1",
            "blk.{i}.attn_qkv": Transposed("transformer.h.{i}.attn.c_attn"),
            "blk.{i}.attn_output": Transposed("transformer.h.{i}.attn.c_proj"),
            "blk.{i}.ffn_norm": "transformer.h.{i}.ln_2",
            "blk.{i}.ffn_up": Transposed("transformer.h.{i}.mlp.c_fc"),
            "blk.{i}.ffn_down": Transposed("transformer.h.{i}.mlp.c_proj"),
        },
    ),
    Architecture(("falcon",), _falcon, _falcon_tensors),
    Architecture(
        ("starcoder2",),
        _starcoder2,
        {
            **LLAMA_TENSORS,
            "blk.{i}.ffn_up": f"{_LAYER}.mlp.c_fc",
            "blk.{i}.ffn_down": f"{_LAYER}.mlp.c_proj",
        },
    ),
    Architecture(
        ("stablelm",),
        _stablelm,
        {
            **LLAMA_TENSORS,
            "blk.{i}.attn_q_norm": ByPart(f"{_LAYER}.self_attn.q_layernorm.norms.{{e}}"),
            "blk.{i}.attn_k_norm": ByPart(f"{_LAYER}.self_attn.k_layernorm.norms.{{e}}"),
        },
    ),
)
