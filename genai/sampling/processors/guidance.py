"""Classifier-free guidance: away from what a model says without, or with another, prompt."""

from __future__ import annotations

import numpy as np

from genai.sampling.processors.distribution import Logits, log_softmax

__all__ = ["guide"]


def guide(logits: Logits, without_prompt: Logits, scale: float) -> Logits:
    """Return log-probabilities moved away from those without the prompt (Sanchez et al., 2023), not normalized.

    They are `scale` times as far from those without the prompt as the prompt alone moves them. What cannot follow without
    the prompt stays as it is.

    Args:
        logits: float32 [..., vocab], with the prompt.
        without_prompt: float32 [..., vocab], without it, or with a negative one.
        scale: Above 0; 1 changes nothing.

    >>> guide(np.log(np.array([0.5, 0.5], np.float32)), np.log(np.array([0.25, 0.75], np.float32)), 2.0).tolist()
    [0.0, -1.0986123085021973]
    """
    scores, other = log_softmax(logits), log_softmax(without_prompt)
    with np.errstate(invalid="ignore", over="ignore"):  # of -inf, which is passed over
        guided = np.float32(scale) * (scores - other) + other
    result: Logits = np.where(other == -np.inf, scores, guided)
    return result
