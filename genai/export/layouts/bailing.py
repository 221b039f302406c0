"""What Ling's models share: the names of what is not linear attention, and of config keys."""

from __future__ import annotations

from collections.abc import Mapping

from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.moe import SHARED_MOE_WEIGHTS

__all__ = ["BAILING_ALIASES", "BAILING_WEIGHTS"]

BAILING_WEIGHTS: WeightMap = {
    **{name: source for name, source in SHARED_MOE_WEIGHTS.items() if not str(name).startswith("attention.")},
    "embedding": "word_embeddings",
    "attention.output": "layers.{i}.attention.dense",
    "mlp.router.correction_bias": "layers.{i}.mlp.gate.expert_bias",
}

BAILING_ALIASES: Mapping[str, str] = {
    "num_experts": "n_routed_experts",
    "num_shared_experts": "n_shared_experts",
}
