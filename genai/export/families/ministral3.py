"""Ministral 3: Mistral with YaRN, whose queries grow beyond the length that it was first trained on."""

from __future__ import annotations

from genai.export.architecture.family import Family
from genai.export.layouts.llama import LLAMA_WEIGHTS
from genai.export.layouts.mistral import mistral_decoder

__all__ = ["FAMILY"]

FAMILY = Family(
    architectures=("Ministral3ForCausalLM",),
    model_type="mistral",  # onnxruntime-genai reads both alike
    spec=mistral_decoder,
    weights=LLAMA_WEIGHTS,
    defaults={
        "head_dim": 128,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1000000.0,
            "factor": 16.0,
            "original_max_position_embeddings": 16384,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        },
        "sliding_window": None,
    },
)
