"""For which sizes to evaluate a part of a graph, so that the answers hold for all sizes.

Index arithmetic consists of sums and products of sizes and positions, and of comparisons with each other and with
constants: a window, a chunk, a table's end. Small sizes tell the former; the latter can change only at the constants,
so a part that compares is evaluated around each of them too.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from genai.export.foreign.passes.graph_queries import ancestors, array_of, is_op
from genai.export.foreign.passes.probe import Prober, Sizes
from genai.export.foreign.passes.unprovable import Unprovable

__all__ = ["DISTINCT_SIZES", "sizes_around_constants", "telling_sizes"]

DISTINCT_SIZES = (Sizes(2, 3, 5), Sizes(3, 0, 7), Sizes(1, 6, 1), Sizes(5, 11, 2))
"""No two numbers of a size, nor their sums, are alike in all of these."""

COMPARING = (
    "Clip",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mod",
    "NonZero",
    "Relu",
    "Trilu",
    "Where",
)
"""Operators by which a result may follow from sizes in one way here and in another there."""

LOOK_UPS = ("Gather", "GatherElements", "GatherND", "Slice")
SMALL_TABLE = 16
LARGEST_HALF = 65504
"""Of float16: the number that masks there, and no position."""

MOST_POSITIONS = 1 << 20
LONGEST_PROMPT = 1 << 9


def telling_sizes(prober: Prober, value: ir.Value) -> list[Sizes]:
    """Return the sizes that tell how a value follows from sizes, the distinct ones first.

    Raises:
        Unprovable: See `sizes_around_constants`.
    """
    behind = ancestors([value], shapes_only=prober.of_data)
    if any(is_op(each.producer(), *COMPARING) for each in behind):
        return [*DISTINCT_SIZES, *sizes_around_constants(prober, [value])]
    return list(DISTINCT_SIZES)


def sizes_around_constants(
    prober: Prober, values: Iterable[ir.Value], *, stop: Iterable[ir.Value] = ()
) -> list[Sizes]:
    """Return the sizes at which the index arithmetic behind values may change its behaviour.

    Raises:
        Unprovable: It looks numbers up in a table that has a row for every query.
    """
    numbers, limit = set[int](), MOST_POSITIONS
    behind = ancestors(values, stop=stop, shapes_only=prober.of_data)
    for value in behind:
        array = array_of(value)
        if array is None:
            continue
        if array.size <= SMALL_TABLE:
            magnitudes = np.abs(array.astype(np.float64)).reshape(-1)
            within = magnitudes[
                (magnitudes >= 2) & (magnitudes <= MOST_POSITIONS) & (magnitudes != LARGEST_HALF)
            ]
            numbers |= {int(number) for number in within if number % 1 == 0}
        elif any(is_op(use.node, *LOOK_UPS) and use.node.outputs[0] in behind for use in value.uses()):
            if array.ndim > 1 and array.shape[-2] > 1:
                raise Unprovable(f"it looks up {value.name}, a table")
            limit = min(limit, array.shape[-1])  # the last position then reads all of the table
    around = [
        sizes
        for number in sorted(numbers)
        for sizes in (
            Sizes(1, number - 2, 2),
            Sizes(1, number - 1, 3),
            Sizes(1, number + 2, 1),
            Sizes(1, 0, number + 2),
        )
    ]
    if limit < MOST_POSITIONS:
        around.append(Sizes(1, limit - 1, 1))
    return [sizes for sizes in around if sizes.total <= limit and sizes.length <= LONGEST_PROMPT]
