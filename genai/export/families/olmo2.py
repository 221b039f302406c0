"""OLMo 2: norms after attention and feed-forward, all queries normalized together, and all keys."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.olmo import OLMO_WEIGHTS, olmo_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return olmo_decoder(config, [llama_attention(config)] * config.integer("num_hidden_layers"))


FAMILY = Family(
    architectures=("Olmo2ForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights=OLMO_WEIGHTS,
    defaults={"rms_norm_eps": 1e-5},
)
