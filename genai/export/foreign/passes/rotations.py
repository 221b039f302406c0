"""Rotary positions written out in basic operators become one RotaryEmbedding before each attention's query and key.

Cosines and sines stay what the graph computes from the positions; whether they rotate the halves or the
neighbours of a head is found by rotating random heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.foreign.passes.graph_edit import GraphEdit, Place
from genai.export.foreign.passes.graph_queries import is_op, operands_of, producer_of
from genai.export.foreign.passes.opset import raise_opset
from genai.export.foreign.passes.probe import Array, Prober, Sizes
from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.operators import GROUP_QUERY_ATTENTION, ONNX_ROTARY_EMBEDDING

__all__ = ["fuse_rotations"]

SIZES = (Sizes(7, 3, 5), Sizes(1, 0, 3), Sizes(3, 6, 1))
ROTATING = (
    "Add",
    "Cast",
    "Concat",
    "Expand",
    "Gather",
    "Mul",
    "Neg",
    "Reshape",
    "ScatterND",
    "Slice",
    "Split",
    "Squeeze",
    "Sub",
    "Tile",
    "Transpose",
    "Unsqueeze",
)
"""Operators that a rotation may consist of: none whose result could be of another kind elsewhere."""

MOST_NODES = 40
"""How many nodes a rotation has at most."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How cosines and sines lie in a graph's values and which parts of a head they rotate.

    Args:
        interleaved: Whether neighbours are rotated, instead of one half against the other.
        repeated: Whether the values hold each number twice, in the same layout.
    """

    interleaved: bool
    repeated: bool

    def single(self, table: Array) -> Array:
        """Return each number once."""
        if not self.repeated:
            return table
        return table[..., ::2] if self.interleaved else table[..., : table.shape[-1] // 2]

    def rotate(self, heads: Array, cos: Array, sin: Array) -> Array:
        """Rotate heads [..., head_dim] by tables that broadcast with [..., rotary_dim / 2]."""
        rotated, half = heads.copy(), cos.shape[-1]
        first = slice(0, 2 * half, 2) if self.interleaved else slice(0, half)
        second = slice(1, 2 * half, 2) if self.interleaved else slice(half, 2 * half)
        rotated[..., first] = heads[..., first] * cos - heads[..., second] * sin
        rotated[..., second] = heads[..., second] * cos + heads[..., first] * sin
        return rotated


LAYOUTS = tuple(Layout(interleaved, repeated) for repeated in (True, False) for interleaved in (False, True))


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation.

    Args:
        source: The heads before it: [batch_size, num_heads, sequence_length, head_dim], or the middle axes swapped.
        target: The heads behind it, side by side: [batch_size, sequence_length, width].
        cos: The value with the cosines; `sin` likewise.
        sin: See `cos`.
        layout: How they are applied.
        num_heads: How many heads there are.
        rotary_dim: How much of each is rotated.
        is_swapped: Whether the source's second axis is the heads.
    """

    source: ir.Value
    target: ir.Value
    cos: ir.Value
    sin: ir.Value
    layout: Layout
    num_heads: int
    rotary_dim: int
    is_swapped: bool


def fuse_rotations(model: ir.Model) -> int:
    """Fuse the rotations before the graph's GroupQueryAttention nodes; return how many.

    Raises:
        Unprovable: There are some, but the graph's opset cannot be raised to one that has the operator.
    """
    prober = Prober(model)
    rotations = []
    for node in model.graph:
        is_attention = GROUP_QUERY_ATTENTION.is_type_of(node.domain, node.op_type)
        if is_attention and not node.attributes.get_int("do_rotary", 0):
            for operand, heads in (("query", "num_heads"), ("key", "kv_num_heads")):
                target = GROUP_QUERY_ATTENTION.find(operand, node.inputs)
                num_heads = node.attributes.get_int(heads)
                rotation = _find(prober, target, num_heads) if target is not None else None
                if rotation is not None:
                    rotations.append(rotation)
    if rotations:
        raise_opset(model)
    edit = GraphEdit(model.graph, "rotations")
    tables: dict[tuple[ir.Value, Layout], ir.Value] = {}
    for rotation in rotations:
        _replace(prober, edit, tables, rotation)
    return len(rotations)


def _find(prober: Prober, target: ir.Value, num_heads: int) -> Rotation | None:
    """Return the rotation that ends in a value."""
    for source, tables in _sources(prober, target):
        try:
            found = _prove(prober, source, target, tables, num_heads)
        except Unprovable:
            continue
        if found is not None:
            return found
    return None


def _sources(prober: Prober, target: ir.Value) -> Iterator[tuple[ir.Value, list[ir.Value]]]:
    """Yield values that alone tell what a target is of the tokens, the nearest first, and what else it is made of."""
    open_values, tables = {target}, dict[ir.Value, None]()
    for _ in range(MOST_NODES):
        nodes = [node for value in open_values if (node := value.producer()) is not None]
        if len(nodes) < len(open_values):
            return
        node = max(nodes, key=lambda each: prober.order.get(each, -1))
        if not is_op(node, *ROTATING):
            return
        open_values -= set(node.outputs)
        for operand in operands_of(node):
            if operand in prober.of_data:
                open_values.add(operand)
            elif is_op(node, "Mul") and operand.const_value is None:
                tables[operand] = None
        if len(open_values) == 1 and len(tables) >= 2:
            yield next(iter(open_values)), list(tables)


def _prove(
    prober: Prober, source: ir.Value, target: ir.Value, tables: list[ir.Value], num_heads: int
) -> Rotation | None:
    """Return the rotation that a target is of a source; None if it is none."""
    width = prober.at(SIZES[0]).shape(target)[-1]
    swapped = (SIZES[0].batch, num_heads, SIZES[0].length, width // num_heads)
    shape = prober.at(SIZES[0]).shape(source)
    is_swapped = shape == swapped
    if not is_swapped and shape != (swapped[0], swapped[2], swapped[1], swapped[3]):
        return None
    for cos in tables:
        for sin in tables:
            for layout in LAYOUTS:
                rotary_dim = prober.at(SIZES[0]).shape(cos)[-1] * (1 if layout.repeated else 2)
                rotation = Rotation(source, target, cos, sin, layout, num_heads, rotary_dim, is_swapped)
                if cos is not sin and all(_is_rotation(prober, sizes, rotation) for sizes in SIZES):
                    return rotation
    return None


def _is_rotation(prober: Prober, sizes: Sizes, rotation: Rotation) -> bool:
    probe = prober.at(sizes)
    layout, shape = rotation.layout, probe.shape(rotation.source)
    tables = [probe.value(table) for table in (rotation.cos, rotation.sin)]
    dtype = tables[0].dtype
    rows = (sizes.batch, sizes.length, tables[0].shape[-1])
    if rotation.source.dtype != rotation.cos.dtype or rotation.rotary_dim > shape[-1] or rows[-1] % 2:
        return False
    if any(table.size != np.prod(rows) or table.dtype != dtype for table in tables):
        return False
    heads = np.random.default_rng(sizes.total).standard_normal(shape).astype(dtype)
    result = prober.at(sizes, {rotation.source: heads}).value(rotation.target)
    rows_of_heads = heads.swapaxes(1, 2) if rotation.is_swapped else heads
    cos, sin = (layout.single(table.reshape(rows))[:, :, None] for table in tables)
    expected = layout.rotate(rows_of_heads, cos, sin).reshape(result.shape)
    return np.allclose(result, expected, atol=1e-5 if dtype == np.float32 else 2e-2, rtol=0)


def _replace(
    prober: Prober, edit: GraphEdit, tables: dict[tuple[ir.Value, Layout], ir.Value], rotation: Rotation
) -> None:
    producer = rotation.target.producer()
    assert producer is not None
    here = edit.before(producer)
    for table in (rotation.cos, rotation.sin):
        if (table, rotation.layout) not in tables:
            tables[table, rotation.layout] = _add_table(prober, here, table, rotation.layout)
    rows = _rows(here, rotation)
    result = here.op(
        ONNX_ROTARY_EMBEDDING.op_type,
        ONNX_ROTARY_EMBEDDING.arrange(
            X=rows,
            cos_cache=tables[rotation.cos, rotation.layout],
            sin_cache=tables[rotation.sin, rotation.layout],
        ),
        num_heads=rotation.num_heads,
        rotary_embedding_dim=rotation.rotary_dim,
        interleaved=int(rotation.layout.interleaved),
    )
    result.type = rotation.source.type
    rotation.target.replace_all_uses_with(result)


def _rows(here: Place, rotation: Rotation) -> ir.Value:
    """Return the source's heads side by side: [batch_size, sequence_length, width]."""
    rows = rotation.source
    if rotation.is_swapped:
        node = producer_of(rows, "Transpose")
        is_back = node is not None and list(node.attributes.get_ints("perm", [])) == [0, 2, 1, 3]
        if node is not None and is_back and node.inputs[0] is not None:
            rows = node.inputs[0]
        else:
            rows = here.op("Transpose", [rows], perm=[0, 2, 1, 3])
    return here.op("Reshape", [rows, here.integers(0, 0, -1)])


def _add_table(prober: Prober, here: Place, table: ir.Value, layout: Layout) -> ir.Value:
    """Return cosines or sines as [batch_size, sequence_length, rotary_dim / 2]."""
    shape = prober.at(SIZES[0]).shape(table)
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    if ones:
        table = here.op("Squeeze", [table, here.integers(*ones)])
    if layout.repeated:
        end = shape[-1] if layout.interleaved else shape[-1] // 2
        bounds = [here.integers(number) for number in (0, end, -1, 2 if layout.interleaved else 1)]
        table = here.op("Slice", [table, *bounds])
    return table
