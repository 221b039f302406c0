"""Mistral 7B and what followed it densely, alone or within the models of Mistral 3 that also see images."""

from __future__ import annotations

from genai.export.architecture.family import Family
from genai.export.layouts.llama import LLAMA_WEIGHTS
from genai.export.layouts.mistral import mistral_decoder

__all__ = ["FAMILY"]

FAMILY = Family(
    architectures=("MistralForCausalLM", "Mistral3ForConditionalGeneration"),
    model_type="mistral",  # onnxruntime-genai's "mistral3" wants the vision tower too
    spec=mistral_decoder,
    weights=LLAMA_WEIGHTS,
    defaults={"num_key_value_heads": 8, "sliding_window": 4096},
    prefixes=("model.", "model.language_model.", "language_model.model.", ""),
    ignored=(r"(^|\.)vision_tower\.", r"(^|\.)multi_modal_projector\."),
)
