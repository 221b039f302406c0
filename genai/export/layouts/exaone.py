"""What EXAONE 4 and K-EXAONE share: windows with a rotary embedding, and full attention without positions."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import AttentionSpec, NormSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention, sliding_windows

__all__ = ["exaone_attentions"]


def exaone_attentions(config: ModelConfig) -> list[AttentionSpec]:
    """Return each layer's attention; without windows all of them rotate."""
    attention = replace(llama_attention(config), qk_norm=NormSpec("rms", config.number("rms_norm_eps")))
    if "sliding_window" not in config:
        return [attention] * config.integer("num_hidden_layers")
    return [
        replace(attention, window=window, rope=attention.rope if window is not None else None)
        for window in _windows(config)
    ]


def _windows(config: ModelConfig) -> list[int | None]:
    """Every layer has a window but each n-th, unless layer_types says otherwise."""
    period = 1 if "layer_types" in config else config.integer("sliding_window_pattern")
    return sliding_windows(config, is_sliding=lambda index: (index + 1) % period != 0)
