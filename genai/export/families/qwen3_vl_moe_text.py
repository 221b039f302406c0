"""The decoder within Qwen 3 VL's mixtures of experts: Qwen 3's, with experts stored in one tensor, the other way round."""

from __future__ import annotations

from genai.export.architecture.family import Family
from genai.export.checkpoint.weights import IfStored, Named, Transposed
from genai.export.layouts.qwen3_moe import QWEN3_MOE_WEIGHTS, qwen3_moe_decoder

__all__ = ["FAMILY"]

# transformers 5 saves them the right way round.
_GATE_UP, _DOWN = (
    IfStored(Transposed(Named(f"layers.{{i}}.mlp.experts.{name}"), unless_it_fits=True))
    for name in ("gate_up_proj", "down_proj")
)

FAMILY = Family(
    architectures=("Qwen3VLMoeForConditionalGeneration",),
    model_type="decoder",
    spec=qwen3_moe_decoder,
    weights={
        ("mlp.experts.gate", "mlp.experts.up"): _GATE_UP,
        ("mlp.experts.down",): _DOWN,
        **QWEN3_MOE_WEIGHTS,
    },
    defaults={
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "num_key_value_heads": 16,
        "rms_norm_eps": 1e-6,
        "rope_theta": 500000.0,
    },
    aliases={"num_local_experts": "num_experts"},
    prefixes=("model.", "model.language_model.", ""),
    ignored=(r"^model\.visual\.",),
)
