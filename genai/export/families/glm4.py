"""GLM-4 of April 2025: as before, with a norm on the output of attention and feed-forward block too."""

from __future__ import annotations

from genai.export.architecture.family import Family
from genai.export.layouts.glm import GLM4_WEIGHTS, GLM_DEFAULTS, glm4_decoder

__all__ = ["FAMILY"]

FAMILY = Family(
    architectures=("Glm4ForCausalLM",),
    model_type="decoder",
    spec=glm4_decoder,
    weights=GLM4_WEIGHTS,
    defaults=GLM_DEFAULTS,
)
