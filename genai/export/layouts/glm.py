"""What the dense GLM-4 models share: partial rotary of neighbours, biases on queries, keys and values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genai.export.architecture import AttentionSpec
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention

__all__ = ["GLM_DEFAULTS", "GLM_WEIGHTS", "glm_attention"]

GLM_WEIGHTS: WeightMap = {
    **{modules: name for modules, name in LLAMA_WEIGHTS.items() if modules not in ("mlp.gate", "mlp.up")},
    ("mlp.gate", "mlp.up"): "layers.{i}.mlp.gate_up_proj",
}

GLM_DEFAULTS: Mapping[str, Any] = {
    "attention_bias": True,
    "head_dim": 128,
    "num_key_value_heads": 2,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1.5625e-7,
    "tie_word_embeddings": False,
}


def glm_attention(config: ModelConfig) -> AttentionSpec:
    """Return the attention of every layer."""
    rope = read_rope(config, head_dim=config.integer("head_dim"), interleaved=True)
    return replace(llama_attention(config, rope=rope), output_bias=False)
