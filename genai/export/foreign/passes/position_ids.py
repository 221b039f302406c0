"""What a graph still needs of the past's length once its attentions know it themselves: positions and plain sizes.

A graph with a growing cache reads the past's length from shapes, or sums it up from the mask, one number for the whole
batch. With shared buffers every row has its own. This module finds the values that are positions of the new tokens
(or the batch's size, or the number of new tokens), which can be derived from each row's length, and shows that
nothing else of the past is needed, and that what is computed from positions is computed row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.foreign.passes.attention_core import AttentionCore
from genai.export.foreign.passes.graph_queries import dependents, operands_of
from genai.export.foreign.passes.probe import Array, Probe, Prober, Sizes
from genai.export.foreign.passes.telling_sizes import telling_sizes
from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.names import ATTENTION_MASK, LOGITS, POSITION_IDS, parse_present

__all__ = ["BatchSize", "Length", "PositionIds", "Replacement", "find_replacements"]

MIXING = ("Arg", "If", "Loop", "Reduce", "Scan", "TopK", "Unique")
"""Beginnings of operators' names that make one number of many positions, or choose by one."""

ROWS = Sizes(7, 3, 5)
PASTS = (3, 0, 1, 40, 17, 2, 3)
"""How much each of `ROWS` rows has behind it when rows are compared with each of them alone."""


@dataclass(frozen=True, slots=True)
class PositionIds:
    """A value that holds the new tokens' positions.

    Args:
        rank: How many axes it has; the first is the batch, or of one element for all rows.
        axis: Which one is the tokens'.
        offset: What is added to every position.
    """

    rank: int
    axis: int
    offset: int

    def of(self, positions: Array) -> Array:
        """Return it for given positions, [batch_size, sequence_length]."""
        shape = [positions.shape[0], *[1] * (self.rank - 1)]
        shape[self.axis] = positions.shape[1]
        return (positions + self.offset).reshape(shape)


@dataclass(frozen=True, slots=True)
class BatchSize:
    """A value that holds the number of rows, in `rank` (0 or 1) axes."""

    rank: int


@dataclass(frozen=True, slots=True)
class Length:
    """A value that holds the number of new tokens, in `rank` (0 or 1) axes."""

    rank: int


Replacement = PositionIds | BatchSize | Length


def find_replacements(prober: Prober, cores: Sequence[AttentionCore]) -> dict[ir.Value, Replacement]:
    """Return the values to derive from rows' lengths, so that nothing but the cores needs the past or the mask.

    Args:
        prober: The graph, not changed yet.
        cores: The attentions that will be replaced.

    Raises:
        Unprovable: Something else needs them, or rows are not independent of each other.
    """
    inputs = _inputs_of_past(prober.graph, cores)
    edges = {core.output: (core.query, core.key, core.value) for core in cores}
    logits = _logits(prober.graph)
    needed = _needed(logits, edges, stop=())
    tainted = _dependents(prober.graph, inputs, needed, edges)
    known: dict[ir.Value, Replacement] = {}
    for value in (output for node in prober.graph for output in node.outputs if output in tainted):
        kind = _classify(prober, value)
        if kind is not None:
            known[value] = kind
    for value in prober.graph.inputs:
        if value.name == POSITION_IDS and value in needed:
            known[value] = PositionIds(2, 1, 0)
    rest = _needed(logits, edges, stop=known)
    remaining = _dependents(prober.graph, inputs, rest - known.keys(), edges)
    if remaining:
        names = ", ".join(sorted(str(value.name) for value in remaining)[:3])
        raise Unprovable(f"beside the attention, {names} need the past or the mask")
    replacements = {value: kind for value, kind in known.items() if value in rest}
    _prove_rows(prober, replacements, rest)
    return replacements


def _inputs_of_past(graph: ir.Graph, cores: Iterable[AttentionCore]) -> set[ir.Value]:
    inputs = {value for value in graph.inputs if value.name == ATTENTION_MASK}
    for core in cores:
        inputs |= {core.past_key, core.past_value, core.present_key, core.present_value}
    return inputs


def _logits(graph: ir.Graph) -> ir.Value:
    value = next((value for value in graph.outputs if value.name == LOGITS), None)
    if value is None or any(
        other is not value and parse_present(other.name) is None for other in graph.outputs
    ):
        raise Unprovable("the graph's outputs are not logits and presents")
    return value


Edges = Mapping[ir.Value, tuple[ir.Value, ir.Value, ir.Value]]


def _needed(logits: ir.Value, edges: Edges, *, stop: Iterable[ir.Value]) -> set[ir.Value]:
    """Return what the logits need once the cores are single nodes; nothing behind `stop`."""
    stops, reached = set(stop), set[ir.Value]()
    waiting = [logits, *(value for operands in edges.values() for value in operands)]
    while waiting:
        value = waiting.pop()
        if value in reached:
            continue
        reached.add(value)
        node = value.producer()
        if node is not None and value not in stops and value not in edges:
            waiting.extend(operands_of(node))
    return reached


def _dependents(
    graph: ir.Graph, roots: Iterable[ir.Value], within: set[ir.Value], edges: Edges
) -> set[ir.Value]:
    """Return which values of `within` depend on some roots by another way than through a core."""
    reached = set(roots)
    for node in graph:
        if any(operand in reached for operand in operands_of(node)):
            reached.update(output for output in node.outputs if output in within and output not in edges)
    return reached & within


def _classify(prober: Prober, value: ir.Value) -> Replacement | None:
    """Say what a value is, from its elements at several sizes; None if it is nothing that is known here."""
    try:
        results = [(sizes, prober.at(sizes).value(value)) for sizes in telling_sizes(prober, value)]
    except Unprovable:
        return None
    ranks = {result.ndim for _, result in results}
    if len(ranks) != 1 or any(result.dtype != np.int64 for _, result in results):
        return None
    rank = ranks.pop()
    if rank <= 1 and all(result.size == 1 for _, result in results):
        if all(int(result.reshape(-1)[0]) == sizes.batch for sizes, result in results):
            return BatchSize(rank)
        if all(int(result.reshape(-1)[0]) == sizes.length for sizes, result in results):
            return Length(rank)
    if rank < 2:
        return None
    for axis in range(1, rank):
        offset = int(results[0][1].reshape(-1)[0]) - results[0][0].past
        kind = PositionIds(rank, axis, offset)
        if all(_is_positions(kind, sizes, result) for sizes, result in results):
            return kind
    return None


def _is_positions(kind: PositionIds, sizes: Sizes, result: Array) -> bool:
    positions = np.arange(sizes.past, sizes.total)[None]
    return any(
        np.array_equal(result, kind.of(np.repeat(positions, rows, axis=0))) for rows in {1, sizes.batch}
    )


def _prove_rows(prober: Prober, found: Mapping[ir.Value, Replacement], needed: set[ir.Value]) -> None:
    """Show that with every row at positions of its own, what is computed from them is each row's own too."""
    together = prober.at_positions(ROWS, _given(found, ROWS, np.asarray(PASTS)[:, None]))
    alone = [
        prober.at_positions(sizes, _given(found, sizes, np.asarray([[sizes.past]])))
        for sizes in (Sizes(1, past, ROWS.length) for past in PASTS)
    ]
    before = prober.at(ROWS)
    positions = {value for value, kind in found.items() if isinstance(kind, PositionIds)}
    of_positions = dependents(prober.graph, positions, through_shape=False) & needed
    for node in prober.graph:
        if not any(output in of_positions for output in node.outputs):
            continue
        if not any(output in prober.of_data for output in node.outputs):
            # The largest position, say, may matter only once it is beyond some limit.
            if node.op_type.startswith(MIXING):
                raise Unprovable(f"{node.op_type} ({node.name}) mixes the positions of different rows")
            continue
        operands = [value for value in operands_of(node) if value in of_positions - prober.of_data]
        for operand in operands:
            _compare_rows(operand, together, alone)
        # What was one row for all may be a row each now: it must meet the batch's axis, and no other.
        if operands and any(together.shape(output) != before.shape(output) for output in node.outputs):
            raise Unprovable(f"{node.op_type} ({node.name}) takes positions for all rows at once")


def _given(found: Mapping[ir.Value, Replacement], sizes: Sizes, pasts: Array) -> dict[ir.Value, Array]:
    positions = pasts + np.arange(sizes.length)
    return {value: kind.of(positions) for value, kind in found.items() if isinstance(kind, PositionIds)}


def _compare_rows(value: ir.Value, together: Probe, alone: Sequence[Probe]) -> None:
    result = together.value(value)
    rows = [probe.value(value) for probe in alone]
    same_for_all = all(np.array_equal(row, result) for row in rows)
    if not same_for_all and (
        any(row.shape != (1, *result.shape[1:]) for row in rows)
        or not np.allclose(np.concatenate(rows), result, rtol=1e-5, atol=1e-6)
    ):
        raise Unprovable(f"{value.name} mixes the positions of different rows")
