"""Numbers added to logits, and penalties on what was there before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from genai.sampling.processors.bans import ids_within
from genai.sampling.processors.distribution import Logits

__all__ = [
    "apply_logit_bias",
    "penalize_presence_and_frequency",
    "penalize_repetition",
]


def apply_logit_bias(logits: Logits, bias: Mapping[int, float]) -> Logits:
    """Add a number to the logits of some tokens (OpenAI's logit_bias, Hugging Face's sequence_bias).

    >>> apply_logit_bias(np.zeros(3, np.float32), {1: 2.5}).tolist()
    [0.0, 2.5, 0.0]
    """
    result = logits.copy()
    for token_id, value in bias.items():
        result[..., token_id] += np.float32(value)
    return result


def penalize_repetition(logits: Logits, token_ids: Iterable[int], penalty: float) -> Logits:
    """Divide the positive and multiply the negative logits of the tokens seen before (Keskar et al., 2019).

    Args:
        logits: float32 [..., vocab].
        token_ids: Prompt and generated tokens; how often one occurs does not matter.
        penalty: Above 1 discourages, below 1 encourages repetition.

    >>> penalize_repetition(np.array([2, -2, 2], np.float32), [0, 1, 0], 2.0).tolist()
    [1.0, -4.0, 2.0]
    """
    result = logits.copy()
    ids = ids_within(set(token_ids), logits)
    seen = result[..., ids]
    with np.errstate(over="ignore"):  # of padding near the lowest float
        result[..., ids] = np.where(seen < 0, seen * np.float32(penalty), seen / np.float32(penalty))
    return result


def penalize_presence_and_frequency(
    logits: Logits, generated_ids: Sequence[int], *, presence_penalty: float, frequency_penalty: float
) -> Logits:
    """Subtract `presence + frequency * count` from the logits of the tokens generated before (OpenAI's definition).

    Args:
        logits: float32 [..., vocab].
        generated_ids: The generated tokens, without the prompt.
        presence_penalty: Subtracted once.
        frequency_penalty: Subtracted per occurrence.

    >>> penalize_presence_and_frequency(
    ...     np.zeros(3, np.float32), [1, 2, 2], presence_penalty=0.5, frequency_penalty=1.0
    ... ).tolist()
    [0.0, -1.5, -2.5]
    """
    result = logits.copy()
    for token_id in set(generated_ids):
        if token_id < logits.shape[-1]:
            count = generated_ids.count(token_id)
            result[..., token_id] -= np.float32(presence_penalty + frequency_penalty * count)
    return result
