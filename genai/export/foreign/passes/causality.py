"""The proof that an attention lets a query see what a causal mask does.

A mask in a graph is index arithmetic, so it is evaluated for small sizes and around every constant in it
(genai.export.foreign.passes.telling_sizes). Padding inside a mask plays no part: a rewritten graph knows a row only by its length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from genai.export.foreign.passes.attention_core import AttentionCore
from genai.export.foreign.passes.masks import Mask, causal_mask
from genai.export.foreign.passes.probe import Array, Prober, Sizes
from genai.export.foreign.passes.telling_sizes import sizes_around_constants
from genai.export.foreign.passes.unprovable import Unprovable

__all__ = ["prove_mask"]

MASKED = -9999.0
"""Numbers up to this one, added to a score, leave nothing of it."""

SMALL_SIZES = (
    Sizes(1, 0, 1),
    Sizes(1, 0, 2),
    Sizes(2, 0, 5),
    Sizes(1, 1, 1),
    Sizes(3, 1, 3),
    Sizes(2, 4, 1),
    Sizes(2, 3, 5),
    Sizes(1, 9, 2),
)


def prove_mask(prober: Prober, core: AttentionCore) -> Mask:
    """Show that what stands between an attention's scores and its softmax is a causal mask, and return it.

    Raises:
        Unprovable: It is something else.
    """
    edge = (core.query, core.present_key, core.present_value)
    every_size = [*SMALL_SIZES, *sizes_around_constants(prober, [core.output], stop=edge)]
    biases = {sizes: _bias(prober, sizes, core) for sizes in every_size}
    longest = max(every_size, key=lambda sizes: sizes.total)
    num_seen = int((biases[longest][0, 0, -1] > MASKED).sum())
    window = None if num_seen == longest.total else num_seen
    slopes = _slopes(biases[longest][0, :, -1], num_seen)
    for sizes, bias in biases.items():
        visible = causal_mask(sizes.length, sizes.total, window)
        if not ((bias > MASKED) == visible).all():
            raise Unprovable("its mask is not causal")
        _prove_slopes(bias, visible, slopes)
    for guard in core.guards:
        _prove_guard(prober, guard, core, every_size)
    return Mask(window, tuple(slopes.tolist()) if slopes.any() else None)


def _bias(prober: Prober, sizes: Sizes, core: AttentionCore) -> NDArray[np.float64]:
    """Return the logits of zero scores: [batch_size, num_heads, length, total]."""
    shape = (sizes.batch, core.num_heads, sizes.length, sizes.total)
    zeros = _zero_scores(prober, sizes, core)
    bias = prober.at(sizes, {core.scores: zeros}).value(core.logits).astype(np.float64)
    width = prober.at(sizes).shape(core.output)[-1]  # there is none if the values do not fit the scores
    if bias.size != math.prod(shape) or width != core.num_heads * core.head_dim:
        raise Unprovable("it does not read every key")
    shaped: NDArray[np.float64] = bias.reshape(shape)
    return shaped


def _zero_scores(prober: Prober, sizes: Sizes, core: AttentionCore) -> Array:
    dtype = core.scores.dtype.numpy() if core.scores.dtype is not None else np.dtype(np.float32)
    return np.zeros(prober.at(sizes).shape(core.scores), dtype)


def _slopes(bias: NDArray[np.float64], num_seen: int) -> NDArray[np.float64]:
    """Fit a line through what the last query's keys get, [num_heads, total], for each head: [num_heads]."""
    seen = bias[:, bias.shape[1] - num_seen :]
    keys = np.arange(num_seen) - (num_seen - 1) / 2
    slopes: NDArray[np.float64] = (seen * keys).sum(-1) / max(float((keys * keys).sum()), 1.0)
    return slopes


def _prove_slopes(bias: NDArray[np.float64], visible: NDArray[np.bool_], slopes: NDArray[np.float64]) -> None:
    """Show that visible keys get what the slopes say, up to a number that all of a query's keys share."""
    lines = bias - slopes[:, None, None] * np.arange(bias.shape[-1])
    first = np.take_along_axis(lines, visible.argmax(-1)[None, None, :, None], axis=-1)
    tolerance = 1e-5 + 1e-6 * np.abs(np.where(visible, bias, 0)).max()
    if (np.abs(lines - first)[..., visible] > tolerance).any():
        raise Unprovable("its mask is also a bias, and no linear one")


def _prove_guard(prober: Prober, guard: ir.Value, core: AttentionCore, every_size: Iterable[Sizes]) -> None:
    """Show that a condition is the same everywhere."""
    seen = set[bool]()
    for sizes in every_size:
        probe = prober.at(sizes, {core.scores: _zero_scores(prober, sizes, core)})
        seen |= set(np.unique(probe.value(guard)).tolist())
    if len(seen) != 1:
        raise Unprovable("a condition behind its softmax is not always the same")
