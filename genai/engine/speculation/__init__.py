"""Speculative decoding: tokens that are guessed, so that the model confirms several in one run.

Who guesses is a `Drafter`; whether it pays, and how many tokens, `Speculation` decides from what was right before and from
what runs have taken. That nothing else comes out than without, the strategies see to.
"""

from __future__ import annotations

from genai.engine.speculation.acceptance import Acceptance
from genai.engine.speculation.costs import RunCosts
from genai.engine.speculation.drafter import Drafter
from genai.engine.speculation.model_drafter import ModelDrafter
from genai.engine.speculation.ngrams import NgramDrafter, NgramIndex
from genai.engine.speculation.speculation import Speculation

__all__ = ["Acceptance", "Drafter", "ModelDrafter", "NgramDrafter", "NgramIndex", "RunCosts", "Speculation"]
