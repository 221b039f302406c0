"""Qwen 3, alone or within Qwen 3 VL: queries and keys are normalized per head."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder, upper_windows

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    qk_norm = NormSpec("rms", config.number("rms_norm_eps"))
    attention = replace(llama_attention(config), qk_norm=qk_norm)
    return llama_decoder(config, attention, windows=upper_windows(config))


FAMILY = Family(
    architectures=("Qwen3ForCausalLM", "Qwen3VLForConditionalGeneration"),
    model_type="qwen3",
    spec=spec,
    weights={
        **LLAMA_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
    },
    defaults={
        "head_dim": 128,
        "max_window_layers": 28,
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
    },
    prefixes=("model.", "model.language_model.", ""),
    ignored=(r"^model\.visual\.",),
)
