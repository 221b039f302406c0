"""Command A and R7B: layers with a window and a rotary embedding, and layers that have neither."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.cohere import COHERE_DEFAULTS, COHERE_WEIGHTS, cohere_attention, cohere_decoder
from genai.export.layouts.llama import sliding_windows

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    pattern = config.integer("sliding_window_pattern")
    windows = sliding_windows(config, is_sliding=lambda index: (index + 1) % pattern != 0)
    local = cohere_attention(config)
    full = replace(local, rope=None)
    return cohere_decoder(
        config, [full if window is None else replace(local, window=window) for window in windows]
    )


FAMILY = Family(
    architectures=("Cohere2ForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights=COHERE_WEIGHTS,
    defaults={**COHERE_DEFAULTS, "sliding_window": 4096, "sliding_window_pattern": 4},
)
