"""DeepSeek-V2 and V3: latent attention, whose second matrix newer files hold in two, the keys' turned round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.export.checkpoint.gguf.architectures.architecture import (
    LLAMA_TENSORS,
    Architecture,
    Join,
    experts_table,
)
from genai.export.checkpoint.gguf.model import GgufModel, common_config, rope_of
from genai.export.checkpoint.gguf.sources import Tensor
from genai.export.checkpoint.rows import DecodedRows, Rows, methods_of

__all__ = ["ARCHITECTURES"]

_LAYER = "model.layers.{i}"
_ATTENTION = f"{_LAYER}.self_attn"

_SIGMOID = 2
"""`expert_gating_func` of scores that are sigmoids, as of V3; 1, or none, is softmax."""


def _deepseek(model: GgufModel) -> dict[str, Any]:
    """Return a config of DeepSeek-V3 where the router's scores are sigmoids, or corrected, else of V2."""
    keys, config = model.keys, common_config(model)
    rope_dim = keys.integer("rope.dimension_count")
    key_length = keys.integer("attention.key_length_mla", keys.integer("attention.key_length"))
    value_length = keys.integer("attention.value_length_mla", keys.integer("attention.value_length"))
    num_groups = keys.integer("expert_group_count", 1)
    config |= {
        "num_key_value_heads": config["num_attention_heads"],
        "kv_lora_rank": keys.integer("attention.kv_lora_rank"),
        "q_lora_rank": keys.optional_integer("attention.q_lora_rank"),
        "qk_nope_head_dim": key_length - rope_dim,
        "qk_rope_head_dim": rope_dim,
        "v_head_dim": value_length,
        "n_routed_experts": keys.integer("expert_count"),
        "n_shared_experts": keys.integer("expert_shared_count", 0, minimum=0),
        "num_experts_per_tok": keys.integer("expert_used_count"),
        "moe_intermediate_size": keys.integer("expert_feed_forward_length"),
        "first_k_dense_replace": keys.integer("leading_dense_block_count", 0, minimum=0),
        "routed_scaling_factor": keys.number("expert_weights_scale", 1.0),
        "n_group": num_groups,
        "topk_group": keys.integer("expert_group_used_count", 1),
        "rope_parameters": _rope(model, rope_dim),
    }
    is_corrected = any("exp_probs_b" in name for name in model.tensors)
    if is_corrected or keys.integer("expert_gating_func", 1) == _SIGMOID:
        normalize = keys.flag("expert_weights_norm", False)
        return config | {"architectures": ["DeepseekV3ForCausalLM"], "norm_topk_prob": normalize}
    method = "group_limited_greedy" if num_groups > 1 else "greedy"
    return config | {"architectures": ["DeepseekV2ForCausalLM"], "topk_method": method}


def _rope(model: GgufModel, rope_dim: int) -> dict[str, Any]:
    """Return the rotary parameters; the stored factor on YaRN's logarithm is a tenth of `mscale_all_dim`."""
    rope = rope_of(model, head_dim=rope_dim)
    log_factor = model.keys.optional_number("rope.scaling.yarn_log_multiplier")
    if log_factor is None:
        return rope
    mscale = float(str(np.float32(10 * log_factor)))
    return rope | {"mscale": mscale, "mscale_all_dim": mscale}


@dataclass(frozen=True, slots=True)
class _KeysAndValues:
    """Each head's keys and values one below the other, [heads * (key + value), latent], of matrices apart.

    Args:
        keys: [heads * latent, key]: each head's keys turned round.
        values: [heads * value, latent].
        num_heads: Number of heads.
    """

    keys: Rows
    values: Rows
    num_heads: int

    @property
    def shape(self) -> tuple[int, int]:
        key_dim, value_rows = self.keys.shape[1], len(self.values)
        return (self.num_heads * key_dim + value_rows, self.values.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[np.float32]:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        start, stop, step = rows.indices(len(self))
        height = len(self) // self.num_heads
        first, last = start // height, -(-stop // height)
        heads = [self._head(index) for index in range(first, last)]
        joined = np.concatenate(heads) if heads else np.empty((0, self.shape[1]), np.float32)
        return joined[(slice(start - first * height, stop - first * height, step), *columns)]

    def _head(self, index: int) -> NDArray[np.float32]:
        latent, value_dim = self.shape[1], len(self.values) // self.num_heads
        keys = np.asarray(self.keys[index * latent : (index + 1) * latent], np.float32)
        values = np.asarray(self.values[index * value_dim : (index + 1) * value_dim], np.float32)
        return np.concatenate([keys.T, values])


def _keys_and_values(keys: Rows, values: Rows, config: Mapping[str, Any]) -> Rows:
    joined = _KeysAndValues(keys, values, config["num_attention_heads"])
    methods = methods_of(keys) | methods_of(values)
    return DecodedRows(joined, "+".join(sorted(methods))) if methods else joined


ARCHITECTURES = (
    Architecture(
        ("deepseek2",),
        _deepseek,
        {
            **LLAMA_TENSORS,
            "blk.{i}.attn_q_a": f"{_ATTENTION}.q_a_proj",
            "blk.{i}.attn_q_a_norm": f"{_ATTENTION}.q_a_layernorm",
            "blk.{i}.attn_q_b": f"{_ATTENTION}.q_b_proj",
            "blk.{i}.attn_kv_a_mqa": f"{_ATTENTION}.kv_a_proj_with_mqa",
            "blk.{i}.attn_kv_a_norm": f"{_ATTENTION}.kv_a_layernorm",
            "blk.{i}.attn_kv_b": f"{_ATTENTION}.kv_b_proj",
            "blk.{i}.ffn_gate_inp": f"{_LAYER}.mlp.gate",
            "blk.{i}.exp_probs_b": Tensor(f"{_LAYER}.mlp.gate.e_score_correction_bias"),
            **experts_table(*(f"{_LAYER}.mlp.experts.{{e}}.{name}_proj" for name in ("gate", "up", "down"))),
            "blk.{i}.ffn_gate_shexp": f"{_LAYER}.mlp.shared_experts.gate_proj",
            "blk.{i}.ffn_up_shexp": f"{_LAYER}.mlp.shared_experts.up_proj",
            "blk.{i}.ffn_down_shexp": f"{_LAYER}.mlp.shared_experts.down_proj",
        },
        joins=(
            Join(
                f"{_ATTENTION}.kv_b_proj.weight",
                ("blk.{i}.attn_k_b.weight", "blk.{i}.attn_v_b.weight"),
                _keys_and_values,
            ),
        ),
    ),
)
