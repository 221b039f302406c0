"""Numbers added to logits, and penalties on what was there before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from genai.sampling.processors.bans import ids_below
from genai.sampling.processors.distribution import Logits

__all__ = [
    "apply_logit_bias",
    "apply_sequence_bias",
    "decay_growth",
    "penalize_presence_and_frequency",
    "penalize_repetition",
    "raise_eos",
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


def apply_sequence_bias(
    logits: Logits, token_ids: Sequence[int], bias: Mapping[tuple[int, ...], float]
) -> Logits:
    """Add a number to the last token of every sequence whose other tokens are the latest ones (Hugging Face's).

    Args:
        logits: float32 [..., vocab].
        token_ids: Prompt and generated tokens.
        bias: By token sequence; one of a single token always gets its number.

    >>> apply_sequence_bias(np.zeros(3, np.float32), [5, 0], {(0, 1): 2.0, (1, 2): 3.0}).tolist()
    [0.0, 2.0, 0.0]
    """
    history = tuple(token_ids)
    total = np.zeros(logits.shape[-1], np.float32)
    for (*prefix, last), value in sorted(bias.items(), key=lambda item: len(item[0])):
        start = len(history) - len(prefix)
        if start >= 0 and history[start:] == tuple(prefix):
            total[last] += np.float32(value)
    result: Logits = logits + total
    return result


def raise_eos(
    logits: Logits, eos_token_ids: Sequence[int], *, num_generated: int, start: int, factor: float
) -> Logits:
    """Make the end likelier with every token after the first `start` (Hugging Face's exponential_decay_length_penalty).

    Args:
        logits: float32 [..., vocab].
        eos_token_ids: The tokens that end a sequence.
        num_generated: How many tokens were generated.
        start: How many of them change nothing.
        factor: Each one after them multiplies the share of its size by which the end's logit grows, plus one.

    >>> raise_eos(np.array([1, -1], np.float32), [1], num_generated=6, start=4, factor=2.0).tolist()
    [1.0, 2.0]
    """
    result = logits.copy()
    if num_generated > start:
        ids = ids_below(logits.shape[-1], eos_token_ids)
        grown = decay_growth(num_generated - start, factor)
        ends = result[..., ids]
        result[..., ids] = ends + np.abs(np.where(np.isfinite(ends), ends, 0)) * grown
    return result


def decay_growth(num_after: int, factor: float) -> np.float32:
    """Return `factor ** num_after - 1`, at most 1e30, far beyond any logit."""
    with np.errstate(over="ignore"):
        return np.float32(min(float(np.float64(factor) ** num_after) - 1, 1e30))


def penalize_repetition(logits: Logits, token_ids: Iterable[int], penalty: float) -> Logits:
    """Divide the positive and multiply the negative logits of the tokens seen before (Keskar et al., 2019).

    Args:
        logits: float32 [..., vocab].
        token_ids: Prompt and generated tokens, or the latest of them; how often one occurs does not matter.
        penalty: Above 1 discourages, below 1 encourages repetition.

    >>> penalize_repetition(np.array([2, -2, 2], np.float32), [0, 1, 0], 2.0).tolist()
    [1.0, -4.0, 2.0]
    """
    result = logits.copy()
    ids = ids_below(logits.shape[-1], set(token_ids))
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
