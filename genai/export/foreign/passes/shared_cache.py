"""Attention over a concatenated cache becomes GroupQueryAttention over buffers that past and present share.

Mask, repetition of heads and scaling go with it; rotation stays before it. All layers change or none does: from then
on the mask says no more than each row's length, which the rest of the graph must be content with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.foreign.passes.attention_core import AttentionCore, find_core, measure_scale, prove_core
from genai.export.foreign.passes.causality import Mask, prove_mask
from genai.export.foreign.passes.position_ids import BatchSize, PositionIds, Replacement, find_replacements
from genai.export.foreign.passes.probe import Prober
from genai.export.foreign.passes.queries import GraphEdit, cache_dimensions, producer_of
from genai.export.foreign.passes.unprovable import Unprovable

__all__ = ["share_cache"]

MICROSOFT = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Attention:
    """A core and what was found out about it."""

    core: AttentionCore
    scale: float
    mask: Mask


@dataclass(frozen=True, slots=True)
class Lengths:
    """Values that all layers share, by the names that the runtime knows.

    Args:
        seqlens_k: int32 [batch_size], each row's length minus 1.
        total_sequence_length: int32 [], the longest row's length.
        input_shape: int64 [2], batch_size and sequence_length.
        first: The graph's first node; what all layers share stands before it.
    """

    seqlens_k: ir.Value
    total_sequence_length: ir.Value
    input_shape: ir.Value
    first: ir.Node


def share_cache(model: ir.Model) -> int:
    """Rewrite the attention of every layer and return how many there are.

    Raises:
        Unprovable: Some layer, or what the rest of the graph does with lengths, is not understood; nothing changed.
    """
    graph = model.graph
    prober = Prober(model)
    num_layers = sum(
        str(value.name).startswith("past_key_values.") and str(value.name).endswith(".key")
        for value in graph.inputs
    )
    if num_layers == 0:
        raise Unprovable("the graph has no cache")
    if not {"input_ids", "attention_mask"} <= {value.name for value in graph.inputs}:
        raise Unprovable("the graph has no attention_mask, which tells how long a row is")
    attentions = [_understand(prober, layer) for layer in range(num_layers)]
    replacements = find_replacements(prober, [attention.core for attention in attentions])
    edit = GraphEdit(graph, "shared_cache")
    lengths = _add_lengths(graph, edit)
    _replace_lengths(graph, edit, lengths, replacements)
    biases: dict[tuple[float, ...], ir.Value] = {}
    for attention in attentions:
        slopes = attention.mask.slopes
        if slopes is not None and slopes not in biases:
            biases[slopes] = _add_bias(edit, lengths, slopes)
        _replace_core(edit, lengths, attention, biases[slopes] if slopes is not None else None)
    _declare_inputs(graph)
    graph.opset_imports[MICROSOFT] = 1
    return len(attentions)


def _understand(prober: Prober, layer: int) -> Attention:
    try:
        core = find_core(prober, layer)
        scale = measure_scale(prober, core)
        mask = prove_mask(prober, core)
        if mask.slopes is not None and core.past_key.dtype != ir.DataType.FLOAT:
            raise Unprovable("a bias that grows with the positions is exact in float32 only")
        if mask.slopes is not None and core.softcap:
            raise Unprovable("it has a soft cap and a bias")
        prove_core(prober, core, scale, mask)
    except Unprovable as error:
        raise Unprovable(f"layer {layer}: {error}") from error
    return Attention(core, scale, mask)


def _add_lengths(graph: ir.Graph, edit: GraphEdit) -> Lengths:
    """Derive lengths from the mask's row sums, under the names of genai.export.build.positions."""
    first = graph[0]
    inputs = {value.name: value for value in graph.inputs}
    mask = inputs["attention_mask"]
    (row_lengths,) = edit.add("ReduceSum", [mask, edit.integers(1)], before=first, keepdims=0)
    (last,) = edit.add("Sub", [row_lengths, edit.integers(1)], before=first)
    int32 = int(ir.DataType.INT32)
    (seqlens_k,) = edit.add("Cast", [last], before=first, name="seqlens_k", to=int32)
    (shape,) = edit.add("Shape", [mask], before=first)
    (longest,) = edit.add("Gather", [shape, edit.constant(np.asarray(1, np.int64))], before=first, axis=0)
    (total,) = edit.add("Cast", [longest], before=first, name="total_sequence_length", to=int32)
    (input_shape,) = edit.add("Shape", [inputs["input_ids"]], before=first)
    return Lengths(seqlens_k, total, input_shape, first)


def _replace_lengths(
    graph: ir.Graph, edit: GraphEdit, lengths: Lengths, replacements: Mapping[ir.Value, Replacement]
) -> None:
    for value in graph.inputs:
        if value.name == "position_ids":
            value.name = "position_ids.input"
    positions: ir.Value | None = None
    for value, kind in replacements.items():
        if isinstance(kind, PositionIds):
            if positions is None:
                positions = _add_position_ids(edit, lengths)
            new = _shape_positions(edit, lengths, positions, kind)
        else:
            place = 0 if isinstance(kind, BatchSize) else 1
            index = np.full((1,) * kind.rank, place, np.int64)
            (new,) = edit.add(
                "Gather", [lengths.input_shape, edit.constant(index)], before=lengths.first, axis=0
            )
        value.replace_all_uses_with(new)
    graph.inputs[:] = [value for value in graph.inputs if value.name != "position_ids.input"]


def _add_position_ids(edit: GraphEdit, lengths: Lengths) -> ir.Value:
    """Derive each row's new positions: int64 [batch_size, sequence_length].

    A row's new tokens follow its past. A row that is shorter than the new positions is a prompt padded on the right.
    """
    first = lengths.first
    scalar = [edit.constant(np.asarray(number, np.int64)) for number in (0, 1)]
    (count,) = edit.add("Gather", [lengths.input_shape, scalar[1]], before=first, axis=0)
    (last,) = edit.add("Cast", [lengths.seqlens_k], before=first, to=int(ir.DataType.INT64))
    (row_lengths,) = edit.add("Add", [last, edit.integers(1)], before=first)
    (past,) = edit.add("Sub", [row_lengths, count], before=first)
    (past,) = edit.add("Max", [past, edit.integers(0)], before=first)
    (past,) = edit.add("Unsqueeze", [past, edit.integers(1)], before=first)
    (steps,) = edit.add("Range", [scalar[0], count, scalar[1]], before=first)
    return edit.add("Add", [past, steps], before=first, name="position_ids")[0]


def _shape_positions(edit: GraphEdit, lengths: Lengths, positions: ir.Value, kind: PositionIds) -> ir.Value:
    if kind.offset:
        (positions,) = edit.add("Add", [positions, edit.integers(kind.offset)], before=lengths.first)
    new_axes = [axis for axis in range(1, kind.rank) if axis != kind.axis]
    if new_axes:
        (positions,) = edit.add("Unsqueeze", [positions, edit.integers(*new_axes)], before=lengths.first)
    return positions


def _add_bias(edit: GraphEdit, lengths: Lengths, slopes: Sequence[float]) -> ir.Value:
    """Return what keys at every position get: float32 [1, num_heads, sequence_length, total]."""
    first = lengths.first
    scalar = [edit.constant(np.asarray(number, np.int64)) for number in (0, 1)]
    (total,) = edit.add("Cast", [lengths.total_sequence_length], before=first, to=int(ir.DataType.INT64))
    (keys,) = edit.add("Range", [scalar[0], total, scalar[1]], before=first)
    (keys,) = edit.add("Cast", [keys], before=first, to=int(ir.DataType.FLOAT))
    column = edit.constant(np.asarray(slopes, np.float32).reshape(1, -1, 1, 1))
    (bias,) = edit.add("Mul", [column, keys], before=first)
    (length,) = edit.add("Gather", [lengths.input_shape, edit.integers(1)], before=first, axis=0)
    one = edit.integers(1)
    (shape,) = edit.add("Concat", [one, one, length, one], before=first, axis=0)
    return edit.add("Expand", [bias, shape], before=first)[0]


def _replace_core(edit: GraphEdit, lengths: Lengths, attention: Attention, bias: ir.Value | None) -> None:
    core, mask = attention.core, attention.mask
    before = core.output.producer()
    assert before is not None
    query, key, value = (_side_by_side(edit, heads, before) for heads in (core.query, core.key, core.value))
    operands = [query, key, value, core.past_key, core.past_value]
    operands += [lengths.seqlens_k, lengths.total_sequence_length]
    output, present_key, present_value = edit.add(
        "GroupQueryAttention",
        [*operands, None, None, None, bias],
        before=before,
        domain=MICROSOFT,
        num_outputs=3,
        num_heads=core.num_heads,
        kv_num_heads=core.num_kv_heads,
        scale=attention.scale,
        softcap=core.softcap,
        local_window_size=mask.window or -1,
    )
    output.type = core.past_key.type
    if core.is_flat:
        width = edit.integers(-1, core.num_heads * core.head_dim)
        (output,) = edit.add("Reshape", [output, width], before=before)
    core.output.replace_all_uses_with(output)
    for old, new in ((core.present_key, present_key), (core.present_value, present_value)):
        new.name, old.name = old.name, f"{old.name}.concatenated"
        new.type = old.type
        new.shape = ir.Shape(["batch_size", core.num_kv_heads, "total_sequence_length", core.head_dim])
        old.replace_all_uses_with(new, replace_graph_outputs=True)


def _side_by_side(edit: GraphEdit, heads: ir.Value, before: ir.Node) -> ir.Value:
    """Turn [batch_size, num_heads, sequence_length, head_dim] to [batch_size, sequence_length, width]."""
    node = producer_of(heads, "Transpose")
    if node is not None and list(node.attributes.get_ints("perm", [])) == [0, 2, 1, 3]:
        rows = node.inputs[0]
    else:
        (rows,) = edit.add("Transpose", [heads], before=before, perm=[0, 2, 1, 3])
    return edit.add("Reshape", [rows, edit.integers(0, 0, -1)], before=before)[0]


def _declare_inputs(graph: ir.Graph) -> None:
    """Give the axes that may change their names."""
    sizes = {
        "input_ids": ["batch_size", "sequence_length"],
        "attention_mask": ["batch_size", "total_sequence_length"],
    }
    for value in graph.inputs:
        if str(value.name) in sizes:
            value.shape = ir.Shape(sizes[str(value.name)])
        elif str(value.name).startswith("past_key_values."):
            num_heads, head_dim = cache_dimensions(value)
            value.shape = ir.Shape(["batch_size", num_heads, "past_sequence_length", head_dim])
