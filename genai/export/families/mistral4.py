"""Mistral 4's decoder alone; within the model that also sees images it is of mistral's file."""

from __future__ import annotations

from genai.export.architecture.family import Family
from genai.export.layouts.mistral4 import MISTRAL4_DEFAULTS, mistral4_decoder, mistral4_weights

__all__ = ["FAMILY"]

FAMILY = Family(
    architectures=("Mistral4ForCausalLM",),
    model_type="decoder",
    spec=mistral4_decoder,
    weights=mistral4_weights,
    defaults=MISTRAL4_DEFAULTS,
)
