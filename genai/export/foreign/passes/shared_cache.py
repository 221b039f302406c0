"""Attention over a concatenated cache becomes GroupQueryAttention over buffers that past and present share.

Mask, repetition of heads and scaling go with it; rotation stays before it. All layers change or none does: from then
on the mask says no more than each row's length, which the rest of the graph must be content with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from genai.export.architecture import AlibiSpec
from genai.export.build.alibi import make_alibi
from genai.export.build.group_query_attention import group_query_attention
from genai.export.build.lengths import Lengths, make_lengths, make_position_ids
from genai.export.foreign.passes.attention_core import AttentionCore, find_core, measure_scale, prove_core
from genai.export.foreign.passes.causality import prove_mask
from genai.export.foreign.passes.graph_edit import GraphEdit, Place
from genai.export.foreign.passes.graph_queries import cache_dimensions, producer_of
from genai.export.foreign.passes.masks import Mask
from genai.export.foreign.passes.position_ids import BatchSize, PositionIds, Replacement, find_replacements
from genai.export.foreign.passes.probe import Prober
from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.axes import INPUT_SHAPES, past_shape, present_shape
from genai.graph.names import ATTENTION_MASK, INPUT_IDS, KEY, POSITION_IDS, parse_past
from genai.graph.opset import MICROSOFT, OPSETS

__all__ = ["share_cache"]


@dataclass(frozen=True, slots=True)
class Attention:
    """A core and what was found out about it."""

    core: AttentionCore
    scale: float
    mask: Mask


def share_cache(model: ir.Model) -> int:
    """Rewrite the attention of every layer and return how many there are.

    Raises:
        Unprovable: Some layer, or what the rest of the graph does with lengths, is not understood; nothing changed.
    """
    graph = model.graph
    prober = Prober(model)
    states = [state for value in graph.inputs if (state := parse_past(value.name)) is not None]
    num_layers = sum(state.part == KEY for state in states)
    if num_layers == 0:
        raise Unprovable("the graph has no cache")
    inputs = {value.name: value for value in graph.inputs}
    if not {INPUT_IDS, ATTENTION_MASK} <= inputs.keys():
        raise Unprovable("the graph has no attention_mask, which tells how long a row is")
    attentions = [_understand(prober, layer) for layer in range(num_layers)]
    replacements = find_replacements(prober, [attention.core for attention in attentions])
    edit = GraphEdit(graph, "shared_cache")
    first = edit.before(graph[0])  # what all layers share
    lengths = make_lengths(first, inputs[INPUT_IDS], inputs[ATTENTION_MASK])
    _replace_lengths(graph, first, inputs[INPUT_IDS], lengths, replacements)
    biases: dict[tuple[float, ...], ir.Value] = {}
    for attention in attentions:
        slopes = attention.mask.slopes
        if slopes is not None and slopes not in biases:
            biases[slopes] = make_alibi(first, lengths, AlibiSpec(slopes))
        _replace_core(edit, lengths, attention, biases[slopes] if slopes is not None else None)
    _declare_inputs(graph)
    graph.opset_imports[MICROSOFT] = OPSETS[MICROSOFT]
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


def _replace_lengths(
    graph: ir.Graph,
    here: Place,
    input_ids: ir.Value,
    lengths: Lengths,
    replacements: Mapping[ir.Value, Replacement],
) -> None:
    for value in graph.inputs:
        if value.name == POSITION_IDS:
            value.name = f"{POSITION_IDS}.input"
    positions: ir.Value | None = None
    for value, kind in replacements.items():
        if isinstance(kind, PositionIds):
            if positions is None:
                positions = make_position_ids(here, lengths)
            new = _shape_positions(here, positions, kind)
        else:
            is_batch = isinstance(kind, BatchSize)
            size = here.op("Shape", [input_ids], start=0, end=1) if is_batch else lengths.sequence_length
            new = size if kind.rank else here.op("Squeeze", [size, here.integers(0)])
        value.replace_all_uses_with(new)
    graph.inputs[:] = [value for value in graph.inputs if value.name != f"{POSITION_IDS}.input"]


def _shape_positions(here: Place, positions: ir.Value, kind: PositionIds) -> ir.Value:
    if kind.offset:
        positions = here.op("Add", [positions, here.integers(kind.offset)])
    new_axes = [axis for axis in range(1, kind.rank) if axis != kind.axis]
    return here.op("Unsqueeze", [positions, here.integers(*new_axes)]) if new_axes else positions


def _replace_core(edit: GraphEdit, lengths: Lengths, attention: Attention, bias: ir.Value | None) -> None:
    core = attention.core
    producer = core.output.producer()
    assert producer is not None
    here = edit.before(producer)
    query, key, value = (_side_by_side(here, heads) for heads in (core.query, core.key, core.value))
    output, present_key, present_value = group_query_attention(
        here,
        query,
        key,
        value,
        core.past_key,
        core.past_value,
        lengths,
        num_heads=core.num_heads,
        num_kv_heads=core.num_kv_heads,
        scale=attention.scale,
        softcap=core.softcap,
        window=attention.mask.window,
        bias=bias,
    )
    output.type = core.past_key.type
    if core.is_flat:
        width = here.integers(-1, core.num_heads * core.head_dim)
        output = here.op("Reshape", [output, width])
    core.output.replace_all_uses_with(output)
    for old, new in ((core.present_key, present_key), (core.present_value, present_value)):
        new.name, old.name = old.name, f"{old.name}.concatenated"
        new.type = old.type
        new.shape = ir.Shape(present_shape(core.num_kv_heads, core.head_dim))
        old.replace_all_uses_with(new, replace_graph_outputs=True)


def _side_by_side(here: Place, heads: ir.Value) -> ir.Value:
    """Merge the heads of [batch_size, num_heads, sequence_length, head_dim]: [batch_size, sequence_length, width]."""
    node = producer_of(heads, "Transpose")
    if node is not None and list(node.attributes.get_ints("perm", [])) == [0, 2, 1, 3]:
        rows = node.inputs[0]
    else:
        rows = here.op("Transpose", [heads], perm=[0, 2, 1, 3])
    return here.op("Reshape", [rows, here.integers(0, 0, -1)])


def _declare_inputs(graph: ir.Graph) -> None:
    """Give the axes that may change their names."""
    for value in graph.inputs:
        if parse_past(value.name) is not None:
            value.shape = ir.Shape(past_shape(*cache_dimensions(value)))
        elif (shape := INPUT_SHAPES.get(str(value.name))) is not None:
            value.shape = ir.Shape(shape)
