"""The head reads the last `num_logits_to_keep` positions only, where it works on each position for itself."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.build.lengths import keep_last, make_num_logits_to_keep, make_sequence_length
from genai.export.foreign.passes.graph_edit import GraphEdit
from genai.export.foreign.passes.graph_queries import ancestors, only_consumer, scalar_of
from genai.export.foreign.passes.probe import Prober, Sizes
from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.axes import logits_shape
from genai.graph.names import INPUT_IDS, LOGITS, NUM_LOGITS_TO_KEEP
from genai.graph.operators import SKIP_LAYER_NORM, SKIP_RMS_NORM
from genai.graph.opset import ONNX_DOMAINS

__all__ = ["keep_last_positions"]

SIZES = (Sizes(2, 3, 5), Sizes(1, 0, 7))
ON_SCALARS = ("Add", "Div", "Mul", "Sub")
ON_ONE = ("Cast", "Identity", "Tanh")
NORMS = ("LayerNormalization", "RMSNormalization")
SKIP_NORMS = (SKIP_LAYER_NORM.op_type, SKIP_RMS_NORM.op_type)


def keep_last_positions(model: ir.Model) -> int:
    """Slice the hidden states before the final norm, or before the head, and return 1; 0 if a graph does so already.

    `num_logits_to_keep` becomes an input that has a default of 1; with 0 the head runs on no position at all.

    Raises:
        Unprovable: The head may mix positions; nothing changed.
    """
    graph = model.graph
    if any(value.name == NUM_LOGITS_TO_KEEP for value in graph.inputs):
        return 0
    prober = Prober(model)
    logits = next((value for value in graph.outputs if value.name == LOGITS), None)
    if logits is None:
        raise Unprovable("there are no logits")
    head, hidden = _walk_to_hidden(prober, logits)
    width = prober.at(SIZES[0]).shape(logits)[-1]
    places = _before_norm(head, hidden)
    _slice(graph, places)
    logits.shape = ir.Shape(logits_shape(width))
    return 1


def _walk_to_hidden(prober: Prober, logits: ir.Value) -> tuple[ir.Node, ir.Value]:
    """Go from the logits back to the head's product; return it and the hidden states that it reads."""
    value = logits
    while True:
        node = value.producer()
        if node is None or (value is not logits and only_consumer(value) is None):
            raise Unprovable(f"{value.name} stands between the head and the logits")
        following = _operand(prober, node)
        if following is None:
            raise Unprovable(f"{node.op_type} ({node.name}) stands between the head and the logits")
        _expect_positions(prober, value)
        if node.op_type == "MatMul":
            _expect_positions(prober, following)
            return node, following
        value = following


def _operand(prober: Prober, node: ir.Node) -> ir.Value | None:
    """Return what a node turns into its output position by position; None if it is not such a node."""
    first, *others = (operand for operand in node.inputs if operand is not None)
    if node.domain not in ONNX_DOMAINS:
        return None
    if node.op_type in ON_ONE:
        return first
    if (
        node.op_type == "MatMul"
        and len(prober.at(SIZES[0]).shape(others[0])) == 2
        and _is_constant(others[0])
    ):
        return first
    if node.op_type in ON_SCALARS:
        for operand, other in ((first, others[0]), (others[0], first)):
            is_row = _is_constant(other) and len(prober.at(SIZES[0]).shape(other)) == 1
            if scalar_of(other) is not None or is_row:
                return operand
    return None


def _is_constant(value: ir.Value) -> bool:
    """Whether nothing of an input goes into a value."""
    return not any(ancestor.is_graph_input() for ancestor in ancestors([value]))


def _expect_positions(prober: Prober, value: ir.Value) -> None:
    for sizes in SIZES:
        shape = prober.at(sizes).shape(value)
        if len(shape) != 3 or shape[:2] != (sizes.batch, sizes.length):
            raise Unprovable(f"{value.name} is not [batch_size, sequence_length, width]")


def _before_norm(head: ir.Node, hidden: ir.Value) -> list[tuple[ir.Node, int]]:
    """Return the operands to slice, as nodes and places: the final norm's, if the head alone reads it."""
    norm = hidden.producer()
    is_norm = norm is not None and (
        (norm.op_type in NORMS and norm.attributes.get_int("axis", -1) in (-1, 2))
        or (norm.op_type in SKIP_NORMS and not any(output.uses() for output in norm.outputs[1:]))
    )
    if norm is None or not is_norm or only_consumer(hidden) is not head:
        return [(head, 0)]
    return [(norm, 0), (norm, 1)] if norm.op_type in SKIP_NORMS else [(norm, 0)]


def _slice(graph: ir.Graph, places: list[tuple[ir.Node, int]]) -> None:
    here = GraphEdit(graph, "last_positions").before(places[0][0])
    input_ids = next(value for value in graph.inputs if value.name == INPUT_IDS)
    operands = [operand for node, place in places if (operand := node.inputs[place]) is not None]
    kept = keep_last(here, operands, make_num_logits_to_keep(here), make_sequence_length(here, input_ids))
    for (node, place), value in zip(places, kept, strict=True):
        node.replace_input_with(place, value)
