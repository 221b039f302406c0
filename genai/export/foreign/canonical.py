"""A graph as transformers' exporter left it, brought to the names, axes and order of every decoder graph of this package.

It knows how the exporter names inputs and outputs, and refuses a graph that the runtime could not feed or whose rows
or lengths a trace has fixed; it does not change what the graph computes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from genai.errors import UnsupportedModelError
from genai.graph.axes import (
    BATCH_SIZE,
    INPUT_SHAPES,
    PAST_LENGTH,
    SEQUENCE_LENGTH,
    past_shape,
    present_shape,
)
from genai.graph.names import (
    ATTENTION_MASK,
    INPUT_IDS,
    KEY,
    LOGITS,
    POSITION_IDS,
    VALUE,
    parse_past,
    past_name,
    present_name,
    present_of,
)

__all__ = ["ForeignCache", "make_canonical"]

# Since transformers 5.24 a cache is named so; before, it was past_key_values.
_PAST = re.compile(r"(?:input\.)?(?:cache|past_key_values)\.layers\.(\d+)\.(key|value)s")
_PRESENT = re.compile(r"(?:output\.)?(?:cache|past_key_values)\.layers\.(\d+)\.(key|value)s")
"""What exporters call a layer's keys and values."""
_TOKEN_INPUTS = (INPUT_IDS, ATTENTION_MASK, POSITION_IDS)


@dataclass(frozen=True, slots=True)
class ForeignCache:
    """The key and value cache of a graph.

    Args:
        num_layers: Layers that have one.
        num_kv_heads: Heads of the first.
        head_dim: Width of a key of the first.
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int


def make_canonical(model: ir.Model) -> ForeignCache:
    """Rename, order and type the inputs and outputs of a decoder's graph, in place, and return its cache's shape.

    Afterwards the inputs are input_ids i64 [B, S], attention_mask i64 [B, T], perhaps position_ids i64 [B, S], and
    past_key_values.{i}.key|value [B, H, P, D]; the outputs are logits [B, S, V] and present.{i}.key|value.

    Raises:
        UnsupportedModelError: It has other inputs or outputs, or an axis that must vary is fixed.
    """
    graph = model.graph
    _strip_traces(model)
    _drop_unused_positions(graph)
    inputs = _named(graph.inputs, _TOKEN_INPUTS, _PAST, past_name, "input")
    outputs = _named(graph.outputs, (LOGITS,), _PRESENT, present_name, "output")
    layers = _check_names(inputs, outputs)
    pasts = _past_names(layers)
    _check_axes(inputs)
    _rename_axes(model, inputs)
    _rename([*inputs.items(), *outputs.items()], graph)
    token_inputs = [inputs[name] for name in _TOKEN_INPUTS if name in inputs]
    _reorder(graph.inputs, [*token_inputs, *(inputs[name] for name in pasts)])
    _reorder(graph.outputs, [outputs[LOGITS], *(outputs[present_of(name)] for name in pasts)])
    _set_shapes(inputs, outputs)
    first = _shape_of(inputs[pasts[0]])
    return ForeignCache(len(layers), int(str(first[1])), int(str(first[3])))


def _strip_traces(model: ir.Model) -> None:
    """Remove what tells of the machine that traced the model, such as paths of source files."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _drop_unused_positions(graph: ir.Graph) -> None:
    for value in list(graph.inputs):
        if value.name == POSITION_IDS and not value.uses():
            graph.inputs.remove(value)


def _named(
    values: Iterable[ir.Value],
    plain: Sequence[str],
    pattern: re.Pattern[str],
    state_name: Callable[[int | str, str], str],
    what: str,
) -> dict[str, ir.Value]:
    """Return the values by canonical name."""
    named: dict[str, ir.Value] = {}
    for value in values:
        name = value.name or ""
        if match := pattern.fullmatch(name):
            named[state_name(int(match[1]), match[2])] = value
        elif name in plain:
            named[name] = value
        else:
            raise UnsupportedModelError(
                f'the exported graph has the {what} "{name}", which generation knows nothing of; expected '
                f"{', '.join(plain)} and {state_name('N', KEY)} and .{VALUE}"
            )
    return named


def _check_names(inputs: Mapping[str, ir.Value], outputs: Mapping[str, ir.Value]) -> list[int]:
    """Return the layers that have a cache; see that nothing is missing."""
    layers = sorted({state.layer for name in inputs if (state := parse_past(name)) is not None})
    pasts = _past_names(layers)
    needed_inputs = [INPUT_IDS, ATTENTION_MASK, *pasts]
    needed_outputs = [LOGITS, *(present_of(name) for name in pasts)]
    missing = [name for name in needed_inputs if name not in inputs or not inputs[name].uses()]
    missing += [name for name in needed_outputs if name not in outputs]
    if missing or not layers or len(outputs) != len(needed_outputs):
        raise UnsupportedModelError(
            f"the exported graph makes no use of {', '.join(missing[:4]) or 'a key/value cache'}; it cannot generate"
        )
    return layers


def _past_names(layers: Sequence[int]) -> list[str]:
    return [past_name(layer, part) for layer in layers for part in (KEY, VALUE)]


def _check_axes(inputs: Mapping[str, ir.Value]) -> None:
    """See that rows and lengths vary, and heads and widths do not."""
    for name, value in inputs.items():
        shape = _shape_of(value)
        rank, varying = (2, (0, 1)) if name in INPUT_SHAPES else (4, (0, 2))
        is_right = len(shape) == rank and all(
            isinstance(dim, int) != (axis in varying) for axis, dim in enumerate(shape)
        )
        if not is_right:
            raise UnsupportedModelError(
                f"the exported graph's input {name} has the shape {shape}; expected "
                f"{'[rows, tokens]' if rank == 2 else '[rows, heads, past, width]'} with fixed heads and width only"
            )


def _rename_axes(model: ir.Model, inputs: Mapping[str, ir.Value]) -> None:
    """Give the symbols of the tracer the names of the axes, in every shape of the graph."""
    names: dict[str, str] = {}
    for name, value in inputs.items():
        axes = INPUT_SHAPES.get(name, (BATCH_SIZE, "", PAST_LENGTH, ""))
        for dim, axis in zip(_shape_of(value), axes, strict=True):
            if isinstance(dim, ir.SymbolicDim) and dim.value and dim.value.isidentifier():
                names.setdefault(dim.value, axis)
    symbol = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b") if names else None
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None and symbol is not None:
                value.shape = ir.Shape(
                    symbol.sub(lambda match: names[match[1]], dim.value)
                    if isinstance(dim, ir.SymbolicDim) and dim.value
                    else dim
                    for dim in value.shape
                )


def _rename(values: Sequence[tuple[str, ir.Value]], graph: ir.Graph) -> None:
    """Give values new names; others that have one of these now get another."""
    ours = {id(value) for _, value in values}
    wanted = {name for name, _ in values}
    for node in graph.all_nodes():
        for value in node.outputs:
            if id(value) not in ours and value.name in wanted:
                value.name = f"{value.name}_inner"
    for _, value in values:
        value.name = f"{value.name}_renamed"  # no two have one name at any moment
    for name, value in values:
        value.name = name


def _reorder(values: MutableSequence[ir.Value], order: Sequence[ir.Value]) -> None:
    values.clear()
    values.extend(order)


def _set_shapes(inputs: Mapping[str, ir.Value], outputs: Mapping[str, ir.Value]) -> None:
    for name, value in inputs.items():
        if name in INPUT_SHAPES:
            value.shape = ir.Shape(INPUT_SHAPES[name])
            continue
        _, heads, _, width = _shape_of(value)
        assert isinstance(heads, int), "checked before"
        assert isinstance(width, int), "checked before"
        value.shape = ir.Shape(past_shape(heads, width))
        outputs[present_of(name)].shape = ir.Shape(present_shape(heads, width))
    logits = outputs[LOGITS]
    logits.shape = ir.Shape([BATCH_SIZE, SEQUENCE_LENGTH, _shape_of(logits)[-1]])


def _shape_of(value: ir.Value) -> ir.Shape:
    if value.shape is None:
        raise UnsupportedModelError(f"the exported graph says nothing of the shape of {value.name}")
    return value.shape
