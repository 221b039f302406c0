"""Exports for an accelerator of random checkpoints of every family, whose heads and matrices are as wide as real ones.

Kernels refuse or take another way for widths that no published model has, such as those of `tests.checkpoints`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genai.config import ExportSettings
from genai.export.exporter import carry_out
from genai.export.plan import plan_export
from tests.checkpoints import make_checkpoint, make_config

__all__ = ["export", "sized_checkpoint"]

_SIZES = {
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "n_inner": 256,
    "ffn_dim": 256,
    "ffn_hidden_size": 256,
    "head_dim": 64,
    "global_head_dim": 128,
    "query_pre_attn_scalar": 64,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 128,
    "shared_intermediate_size": 256,
    "hidden_size_per_layer_input": 64,
    "laurel_rank": 64,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "kv_lora_rank": 192,
    "q_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 64,
    "v_head_dim": 64,
}


def sized_checkpoint(family: str, path: Path, **overrides: Any) -> Path:
    """Save a random checkpoint of a family with real widths and few layers."""
    tiny = make_config(family).to_dict()
    sizes: dict[str, Any] = {name: size for name, size in _SIZES.items() if tiny.get(name) is not None}
    if isinstance(tiny.get("intermediate_size"), list):
        sizes["intermediate_size"] = [256] * len(tiny["intermediate_size"])
    return make_checkpoint(family, path, **{**sizes, **overrides})


def export(checkpoint: Path, folder: Path, **settings: Any) -> Path:
    """Export a checkpoint with these settings, and return the folder."""
    carry_out(plan_export(checkpoint, ExportSettings(**settings)), folder)
    return folder
