"""Llama 1 to 3.3, and what is published under its architecture (SmolLM2, Yi, TinyLlama, DeepSeek distillations)."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder, refuse_other_decoders

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_other_decoders(config, "llama", "idefics3", "smolvlm")
    return llama_decoder(config, llama_attention(config))


FAMILY = Family(
    architectures=(
        "LlamaForCausalLM",
        "Idefics3ForConditionalGeneration",
        "SmolVLMForConditionalGeneration",
    ),
    model_type="llama",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    prefixes=("model.", "model.text_model.", ""),
    ignored=(r"^model\.vision_model\.", r"^model\.connector\."),
)
