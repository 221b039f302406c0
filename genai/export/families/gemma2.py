"""Gemma 2: soft caps on scores and logits, and a window on every other layer."""

from __future__ import annotations

from genai.export.architecture.family import Family
from genai.export.layouts.gemma import GEMMA_WEIGHTS
from genai.export.layouts.gemma2 import GEMMA2_DEFAULTS, gemma2_decoder

__all__ = ["FAMILY"]

FAMILY = Family(
    architectures=("Gemma2ForCausalLM",),
    model_type="gemma2",
    spec=gemma2_decoder,
    weights=GEMMA_WEIGHTS,
    defaults=GEMMA2_DEFAULTS,
)
