"""Qwen 2 and 2.5, alone or within the models that also see images, and MiMo 7B: biases on queries, keys and values."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder, upper_windows

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    attention = replace(llama_attention(config), qkv_bias=True, output_bias=False)
    return llama_decoder(config, attention, windows=upper_windows(config))


FAMILY = Family(
    architectures=(
        "Qwen2ForCausalLM",
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "MiMoForCausalLM",
    ),
    model_type="qwen2",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={"max_window_layers": 28, "num_key_value_heads": 32, "sliding_window": 4096},
    prefixes=("model.", "model.language_model.", ""),
    # MiMo's further layers predict the tokens after the next; decoding does without.
    ignored=(r"^(model\.)?visual\.", r"^model\.mtp_layers\."),
)
