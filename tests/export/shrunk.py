"""Published configs with all their keys and widths so small that transformers runs them in a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.checkpoints import VOCAB_SIZE

__all__ = ["shrunk"]

HIDDEN_SIZE, NUM_HEADS, WIDTH, HEAD_DIM = 64, 4, 48, 64 // 4

_SIZES: Mapping[str, int] = {
    **dict.fromkeys(("hidden_size", "n_embd", "n_embed", "d_model", "word_embed_proj_dim"), HIDDEN_SIZE),
    **dict.fromkeys(
        ("attention_hidden_size", "block_dim", "conv_dim", "conv_dim_out", "lru_width"), HIDDEN_SIZE
    ),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads"), NUM_HEADS),
    **dict.fromkeys(("intermediate_size", "intermediate_size_mlp", "ffn_dim", "n_inner"), WIDTH),
    **dict.fromkeys(("moe_intermediate_size", "moe_shared_expert_intermediate_size"), WIDTH),
    **dict.fromkeys(("shared_intermediate_size", "shared_expert_intermediate_size", "block_ff_dim"), WIDTH),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 8),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "index_head_dim"), 2 * HEAD_DIM),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), HEAD_DIM),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), HEAD_DIM),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_d_state", "ssm_state_size"), HEAD_DIM),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "rotary_dim", "laurel_rank"), 8),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCAB_SIZE),
    **dict.fromkeys(("bos_token_id", "pad_token_id"), 1),
    **dict.fromkeys(("attention_window_size", "sliding_window", "window_size"), 12),
    "attention_chunk_size": 10,
    "hidden_size_per_layer_input": HEAD_DIM,
    "index_n_heads": 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": NUM_HEADS,
    "mamba_d_ssm": 2 * HIDDEN_SIZE,
}
"""What a size becomes, where it is not 0: prompts of two dozen tokens are longer than windows and chunks."""

_AT_MOST: Mapping[str, int] = {
    **dict.fromkeys(("num_experts_per_tok", "experts_per_token", "top_k_experts"), 2),
    **dict.fromkeys(("n_group", "n_groups", "mamba_n_groups"), 2),
    "max_position_embeddings": 131072,
    "topk_group": 1,
}
_KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "num_global_key_value_heads")
_HEAD_DIMS = ("head_dim", "global_head_dim", "attention_head_dim")
_DEVIATIONS = ("initializer_range", "init_std")


def shrunk(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose decoder is small, with floats for weights; what is no size stays as it is."""
    small = {key: value for key, value in values.items() if key != "quantization_config"}
    if "text_config" in small:
        return small | {"text_config": shrunk(small["text_config"])}
    small |= {key: _like(small[key], size) for key, size in _SIZES.items() if small.get(key)}
    small |= {key: min(small[key], most) for key, most in _AT_MOST.items() if small.get(key)}
    small |= {key: _head_dim(values, key) for key in _HEAD_DIMS if small.get(key)}
    small |= {key: _key_heads(values, key) for key in _KEY_HEADS if small.get(key)}
    small |= {key: 0.15 for key in _DEVIATIONS if key in small}  # or logits would hardly differ
    if "eos_token_id" in small:
        small["eos_token_id"] = _like(small["eos_token_id"], 2)
    for key in ("rope_scaling", "rope_parameters"):
        if small.get(key):
            small[key] = _rotary(small[key], small)
    if small.get("model_type") == "mamba2":  # its heads are as wide together as the expanded stream
        small["num_heads"] = small["expand"] * HIDDEN_SIZE // small["head_dim"]
    return small


def _like(value: Any, size: int) -> Any:
    """A size, or as many of it as there were."""
    return [size] * len(value) if isinstance(value, list) else size


def _head_dim(values: Mapping[str, Any], key: str) -> int:
    """An even share of the hidden size where it was one, else an eighth."""
    if values[key] * values.get("num_attention_heads", 0) == values.get("hidden_size"):
        return HEAD_DIM
    return max(HEAD_DIM, values[key] // 8)


def _key_heads(values: Mapping[str, Any], key: str) -> int:
    """All query heads, half of them, or one."""
    num_heads = next((values[name] for name in ("num_attention_heads", "n_head") if name in values), None)
    if values[key] == num_heads:
        return NUM_HEADS
    return 1 if values[key] == 1 else NUM_HEADS // 2


def _rotary(parameters: Mapping[str, Any], small: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary parameters with as many factors and sections as half the rotary dimensions need."""
    share = parameters.get("partial_rotary_factor", small.get("partial_rotary_factor", 1.0))
    half = int(small.get("head_dim", HIDDEN_SIZE // NUM_HEADS) * share) // 2
    changed = {key: parameters[key][:half] for key in ("long_factor", "short_factor") if key in parameters}
    if "mrope_section" in parameters:
        changed["mrope_section"] = [half - 2 * (half // 3), half // 3, half // 3]
    return {**parameters, **changed}
