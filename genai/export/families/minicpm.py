"""MiniCPM 1, 2 and 4: Llama with factors on embeddings, residual additions and logits."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder
from genai.export.layouts.minicpm import with_minicpm_factors

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse("sparse_config", "attention to selected blocks cannot be exported")
    return with_minicpm_factors(config, llama_decoder(config, llama_attention(config)))


FAMILY = Family(
    architectures=("MiniCPMForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={
        "dim_model_base": 1,
        "rms_norm_eps": 1e-6,
        "scale_depth": 1,
        "scale_emb": 1,
        "tie_word_embeddings": True,
    },
)
