"""How to search: what a request's sequences run next, and what becomes of the logits.

The loop knows `Strategy` and no kind of it by name; which one a request wants is decided here, once.
"""

from __future__ import annotations

from genai.engine.request import Request
from genai.engine.strategies.beams import BeamStrategy
from genai.engine.strategies.guidance import GuidedStrategy
from genai.engine.strategies.sampling import SamplingStrategy
from genai.engine.strategies.strategy import Strategy
from genai.model import Model

__all__ = ["Strategy", "make_strategy"]


def make_strategy(request: Request, model: Model) -> Strategy:
    """Return the strategy that a request's options ask for, its sequences without slots yet.

    Raises:
        OptionError: An option does not fit the model.
    """
    if request.config.num_beams > 1:
        return BeamStrategy(request, model)
    if request.config.guidance_scale != 1:
        return GuidedStrategy(request, model)
    return SamplingStrategy(request, model)
