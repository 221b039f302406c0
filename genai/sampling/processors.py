"""What a generation option does to the logits: the readable specification that the fast paths are held against.

Every function takes `logits: float32 [..., vocab]` and returns a new array of that shape; a forbidden token has the
logit -inf. The last axis is the vocabulary; leading axes, where a function accepts them, are rows that share the
options. Nothing here keeps state: a history is passed whole. Semantics are those of the LogitsProcessor classes of
transformers 5.23, and the order is its `_get_logits_processor`'s:

    logit_bias -> repetition, presence and frequency penalties -> bans (n-grams, bad words, min_new_tokens,
    suppress_tokens) -> temperature -> top_k -> top_p -> min_p -> typical_p -> draw

Bans come after the penalties so that nothing can lift them (a penalty leaves -inf as it is: bans before penalties
would give the same). Token ids outside the vocabulary, which a model with more embeddings than logits can have in
its prompt, are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Logits",
    "apply_logit_bias",
    "apply_temperature",
    "ban_bad_words",
    "ban_eos",
    "ban_repeated_ngrams",
    "draw",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "keep_typical_p",
    "log_softmax",
    "penalize_presence_and_frequency",
    "penalize_repetition",
    "softmax",
    "suppress_tokens",
]

Logits: TypeAlias = NDArray[np.float32]
"""`float32 [..., vocab]`."""


def softmax(logits: Logits) -> Logits:
    """Return the probabilities over the last axis; a logit of -inf has probability 0.

    The sum is taken in float64 and rounded, so that leaving tokens of probability 0 out changes nothing.

    >>> softmax(np.array([0, 0, -np.inf], np.float32)).tolist()
    [0.5, 0.5, 0.0]
    """
    weights: Logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)
    return weights


def log_softmax(logits: Logits) -> Logits:
    """Return the log-probabilities over the last axis, stable for logits of any size; -inf stays -inf.

    >>> log_softmax(np.array([1000, 1000], np.float32)).round(4).tolist()
    [-0.6930999755859375, -0.6930999755859375]
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Logits = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)).astype(
        np.float32
    )
    return result


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
    ids = _ids_within(set(token_ids), logits)
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


def suppress_tokens(logits: Logits, token_ids: Iterable[int]) -> Logits:
    """Forbid these tokens.

    >>> suppress_tokens(np.zeros(3, np.float32), [1, 7]).tolist()
    [0.0, -inf, 0.0]
    """
    result = logits.copy()
    result[..., _ids_within(token_ids, logits)] = -np.inf
    return result


def ban_eos(
    logits: Logits, eos_token_ids: Iterable[int], *, num_generated: int, min_new_tokens: int
) -> Logits:
    """Forbid the end of the sequence while fewer than `min_new_tokens` tokens were generated.

    >>> ban_eos(np.zeros(2, np.float32), [1], num_generated=3, min_new_tokens=4).tolist()
    [0.0, -inf]
    """
    return suppress_tokens(logits, eos_token_ids if num_generated < min_new_tokens else ())


def ban_bad_words(logits: Logits, token_ids: Sequence[int], bad_words_ids: Iterable[Sequence[int]]) -> Logits:
    """Forbid the last token of every bad word whose other tokens are the latest ones.

    Args:
        logits: float32 [..., vocab].
        token_ids: Prompt and generated tokens.
        bad_words_ids: Token sequences, none empty; one of a single token is always forbidden.

    >>> ban_bad_words(np.zeros(3, np.float32), [5, 0], [[0, 1], [1, 2]]).tolist()
    [0.0, -inf, 0.0]
    """
    history = tuple(token_ids)
    banned = []
    for *prefix, last in bad_words_ids:
        start = len(history) - len(prefix)
        if start >= 0 and history[start:] == tuple(prefix):
            banned.append(last)
    return suppress_tokens(logits, banned)


def ban_repeated_ngrams(logits: Logits, token_ids: Sequence[int], size: int) -> Logits:
    """Forbid the tokens that would complete an n-gram that occurred before (Paulus et al., 2017).

    Args:
        logits: float32 [..., vocab].
        token_ids: Prompt and generated tokens.
        size: The n of the n-grams, at least 1.

    >>> ban_repeated_ngrams(np.zeros(3, np.float32), [0, 1, 2, 0], 2).tolist()
    [0.0, -inf, 0.0]
    """
    prefix = tuple(token_ids[max(len(token_ids) - size + 1, 0) :])
    grams = (tuple(token_ids[i : i + size]) for i in range(len(token_ids) - size + 1))
    return suppress_tokens(logits, [gram[-1] for gram in grams if gram[:-1] == prefix])


def apply_temperature(logits: Logits, temperature: float) -> Logits:
    """Divide the logits by the temperature, a number above 0.

    Padded vocabularies have logits near the lowest float; these become -inf where the division overflows.

    >>> apply_temperature(np.array([1, 2], np.float32), 0.5).tolist()
    [2.0, 4.0]
    """
    with np.errstate(over="ignore"):
        result: Logits = logits / np.float32(temperature)
    return result


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Forbid all but the k most likely tokens (Fan et al., 2018); tokens equal to the k-th stay too; 0 keeps all.

    >>> keep_top_k(np.array([3, 1, 2, 2], np.float32), 2).tolist()
    [3.0, -inf, 2.0, 2.0]
    """
    vocab = logits.shape[-1]
    if not 0 < k < vocab:
        return logits.copy()
    kth = np.partition(logits, vocab - k, axis=-1)[..., vocab - k, None]
    return _forbid(logits, logits < kth)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the smallest set of most likely tokens whose probability reaches p (Holtzman et al., 2019).

    The tokens are taken in ascending order, equal ones by descending id, and removed while their probability adds up
    to no more than 1 - p; the last one always stays. So of equal tokens at the border those with lower ids stay,
    and a tiny p is greedy. (Transformers keeps as many of them, but which is up to an unstable sort.) Probabilities
    are float32, added in float64, and compared as float32.

    >>> keep_top_p(np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32)), 0.7).round(2).tolist()[2:]
    [-inf, -inf]
    """
    if p >= 1:
        return logits.copy()
    order = np.argsort(-logits, axis=-1, kind="stable")[..., ::-1]
    ascending = np.take_along_axis(softmax(logits), order, axis=-1)
    removed = ascending.cumsum(axis=-1, dtype=np.float64).astype(np.float32) <= np.float32(1 - p)
    removed[..., -1] = False
    forbidden = np.empty_like(removed)
    np.put_along_axis(forbidden, order, removed, axis=-1)
    return _forbid(logits, forbidden)


def keep_min_p(logits: Logits, p: float) -> Logits:
    """Keep the tokens that are at least p times as likely as the most likely one (Nguyen et al., 2024).

    >>> keep_min_p(np.log(np.array([0.5, 0.3, 0.2], np.float32)), 0.5).round(2).tolist()[2:]
    [-inf]
    """
    return _forbid(logits, np.exp(logits - logits.max(axis=-1, keepdims=True)) < np.float32(p))


def keep_typical_p(logits: Logits, mass: float) -> Logits:
    """Keep the tokens whose information is nearest to the entropy, up to this mass (Meister et al., 2022).

    Tokens as far from the entropy as the last one kept stay too.

    >>> keep_typical_p(np.log(np.array([0.6, 0.2, 0.19, 0.01], np.float32)), 0.3).round(2).tolist()[-1]
    -inf
    """
    if mass >= 1:
        return logits.copy()
    log_p = log_softmax(logits)
    with np.errstate(invalid="ignore"):  # 0 * inf of a forbidden token, whose share of the entropy is 0
        entropy = -np.nansum(np.exp(log_p) * log_p, axis=-1, keepdims=True)
    distance = np.abs(-log_p - entropy)
    order = np.argsort(distance, axis=-1, kind="stable")
    nearest = np.take_along_axis(softmax(logits), order, axis=-1)
    cumulative = nearest.cumsum(axis=-1, dtype=np.float64).astype(np.float32)
    num_below = (cumulative < np.float32(mass)).sum(axis=-1, keepdims=True)
    last = np.take_along_axis(order, num_below.clip(max=logits.shape[-1] - 1), axis=-1)
    return _forbid(logits, distance > np.take_along_axis(distance, last, axis=-1))


def draw(logits: NDArray[np.float32], uniform: float) -> int:
    """Return the token at which the cumulative probability, in order of token ids, first exceeds `uniform`.

    The weights `exp(logit - max)` are float32, their cumulative sums and the product `uniform * total` float64.
    Where rounding takes that product up to the total, the last token of a weight above 0 is drawn, so that a
    forbidden token never is.

    Args:
        logits: float32 [vocab], after all filters.
        uniform: In [0, 1).

    >>> draw(np.log(np.array([0.5, 0.25, 0.25], np.float32)), 0.6)
    1
    """
    cumulative = np.exp(logits - logits.max()).cumsum(dtype=np.float64)
    total = cumulative[-1]
    return int(np.argmax((cumulative > uniform * total) | (cumulative == total)))


def _forbid(logits: Logits, forbidden: NDArray[np.bool_]) -> Logits:
    result: Logits = np.where(forbidden, np.float32(-np.inf), logits)
    return result


def _ids_within(token_ids: Iterable[int], logits: Logits) -> NDArray[np.int64]:
    """Return the ids that have a logit."""
    return np.fromiter((i for i in token_ids if i < logits.shape[-1]), np.int64)
