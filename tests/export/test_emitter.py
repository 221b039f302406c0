"""Both emitters: what is emitted to a new graph and into one that is there already is the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from genai.config import ExportSettings
from genai.export.architecture import AlibiSpec
from genai.export.build.alibi import make_alibi
from genai.export.build.emitter import Emitter
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.group_query_attention import group_query_attention
from genai.export.build.lengths import keep_last, make_lengths, make_num_logits_to_keep, make_position_ids
from genai.export.build.precision import Precision
from genai.export.foreign.passes.graph_edit import GraphEdit
from genai.graph.names import ATTENTION_MASK, INPUT_IDS, NUM_LOGITS_TO_KEEP, POSITION_IDS, SEQLENS_K


def emit_everything(e: Emitter, inputs: Sequence[ir.Value]) -> None:
    input_ids, mask, query, past = inputs
    lengths = make_lengths(e, input_ids, mask)
    make_position_ids(e, lengths, switch_length=7)
    bias = make_alibi(e, lengths, AlibiSpec((0.5, 0.25), is_bfloat16=True, factor=2.0))
    heads, _, _ = group_query_attention(
        e,
        query,
        query,
        query,
        past,
        past,
        lengths,
        num_heads=2,
        num_kv_heads=2,
        scale=0.5,
        softcap=3.0,
        window=5,
        bias=bias,
    )
    keep_last(e, [heads, query], make_num_logits_to_keep(e), lengths.sequence_length)


def new_inputs() -> list[ir.Value]:
    return [ir.Value(name=name) for name in (INPUT_IDS, ATTENTION_MASK, "query", "past")]


def described(nodes: Sequence[ir.Node]) -> list[tuple[object, ...]]:
    """The nodes with their attributes and operands, by the place where an operand comes from."""
    places = {
        output: (at, index) for at, node in enumerate(nodes) for index, output in enumerate(node.outputs)
    }

    def operand(value: ir.Value | None) -> object:
        if value is None or value in places:
            return value and places[value]
        return value.name if value.const_value is None else value.const_value.numpy().tolist()

    return [
        (
            node.domain,
            node.op_type,
            [operand(value) for value in node.inputs],
            {name: attribute.value for name, attribute in node.attributes.items()},
        )
        for node in nodes
    ]


def test_a_new_graph_and_a_place_in_one_get_the_same_nodes() -> None:
    builder = GraphBuilder(Precision.of(ExportSettings("fp32")), {})
    emit_everything(builder, new_inputs())
    inputs = new_inputs()
    last = ir.node("Identity", [inputs[0]])
    graph = ir.Graph(inputs, [last.outputs[0]], nodes=[last], opset_imports={"": 20})
    emit_everything(GraphEdit(graph, "test").before(last), inputs)
    *nodes, behind = graph
    assert behind is last
    assert described(nodes) == described(builder.nodes)
    for made in (nodes, builder.nodes):
        assert {SEQLENS_K, POSITION_IDS} <= {output.name for node in made for output in node.outputs}
    assert graph.inputs[-1].name == builder.inputs[-1].name == NUM_LOGITS_TO_KEEP
    assert NUM_LOGITS_TO_KEEP in graph.initializers


def test_names_in_a_graph_that_is_there_stay_its_own() -> None:
    inputs = new_inputs()
    last = ir.node("Identity", [inputs[0]], outputs=[ir.Value(name="test.Shape_0")])
    graph = ir.Graph(inputs, [last.outputs[0]], nodes=[last], opset_imports={"": 20})
    here = GraphEdit(graph, "test").before(last)
    assert [here.op("Shape", [inputs[1]]).name for _ in range(2)] == ["test.Shape_1", "test.Shape_2"]
    assert here.integers(1, 2) is here.integers(1, 2)


def test_constants_of_equal_values_and_other_shapes_are_two() -> None:
    graph = GraphBuilder(Precision.of(ExportSettings("fp32")), {})
    shapes = [(2,), (1, 2), (2, 1), (1, 2, 1, 1), (1, 1, 2, 1)]
    found = [graph.constant(np.asarray([3, 4]).reshape(shape)) for shape in shapes]
    assert [tuple(value.shape or ()) for value in found] == shapes
    assert len(graph.constants) == len(shapes)
    assert graph.constant(np.asarray([3, 4]).reshape(1, 1, 2, 1)) is found[-1]
    assert graph.scalar(3.0) is not graph.constant(np.asarray([3.0], np.float32))
