"""Mistral 7B and what followed it densely, alone or within the models of Mistral 3 that also see images.

Within such a model may also be the decoder of Mistral 4.
"""

from __future__ import annotations

from genai.export.architecture import AttentionSpec, DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import LLAMA_WEIGHTS
from genai.export.layouts.mistral import mistral_decoder
from genai.export.layouts.mistral4 import MISTRAL4_DEFAULTS, mistral4_decoder, mistral4_weights

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    if _is_mistral4(config):
        return mistral4_decoder(_completed(config))
    return mistral_decoder(config)


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights."""
    return mistral4_weights(_completed(config)) if _is_mistral4(config) else LLAMA_WEIGHTS


def _is_mistral4(config: ModelConfig) -> bool:
    return config.string("model_type", "mistral") == "mistral4"


def _completed(config: ModelConfig) -> ModelConfig:
    return ModelConfig(MISTRAL4_DEFAULTS).overlaid(config)


def _model_type(decoder: DecoderSpec) -> str:
    """Return onnxruntime-genai's name; its "mistral3" wants the vision tower too, and it has none for Mistral 4."""
    return "mistral" if isinstance(decoder.attention, AttentionSpec) else "decoder"


FAMILY = Family(
    architectures=("MistralForCausalLM", "Mistral3ForConditionalGeneration"),
    model_type=_model_type,
    spec=spec,
    weights=weights,
    defaults={"num_key_value_heads": 8, "sliding_window": 4096},
    prefixes=("model.", "model.language_model.", "language_model.model.", ""),
    ignored=(r"(^|\.)vision_tower\.", r"(^|\.)multi_modal_projector\."),
    outer_tied=True,
)
