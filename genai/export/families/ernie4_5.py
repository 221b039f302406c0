"""ERNIE 4.5, the dense models: Llama with neighbours rotated together."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.ernie import ernie_attention, with_llama_biases
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config = with_llama_biases(config)
    return llama_decoder(config, ernie_attention(config))


FAMILY = Family(
    architectures=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
    model_type="ernie4_5",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={
        "head_dim": 128,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "use_bias": False,
    },
)
