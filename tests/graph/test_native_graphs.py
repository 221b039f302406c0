"""Every native family's graph keeps the contract: it has the known names, operators, operands and attributes only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest
import transformers

from genai.config import ExportSettings
from genai.export.build.decoder_graph import build_decoder
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.precision import Precision
from genai.export.families import find_family
from genai.graph import names
from genai.graph.axes import INPUT_SHAPES, logits_shape
from genai.graph.operators import GROUP_QUERY_ATTENTION, Operator, find_operator
from genai.graph.opset import ONNX
from tests.checkpoints import FAMILIES, make_config


def native_graph(family: str, precision: str) -> ir.Model:
    """The graph of a tiny decoder whose weights are all zeros."""
    config = make_config(family)
    values = config.to_dict()
    architecture = transformers.AutoModelForCausalLM._model_mapping[type(config)].__name__
    spec, _ = find_family(architecture).read({**values, "architectures": [architecture]})
    spec = spec.limited_to(spec.max_positions)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in spec.parameters().items()}
    g = GraphBuilder(Precision.of(ExportSettings(precision)), zeros)
    build_decoder(g, spec)
    return g.model(producer="genai", version="0")


def nodes_of(model: ir.Model) -> Iterator[tuple[ir.Node, Operator]]:
    for node in model.graph:
        operator = find_operator(node.domain, node.op_type)
        assert node.domain == ONNX or operator is not None, f"{node.op_type} is not in the contract"
        if operator is not None:
            yield node, operator


@pytest.mark.parametrize("precision", ["fp32", "int4"])
@pytest.mark.parametrize("family", FAMILIES)
def test_native_graphs_keep_the_contract(family: str, precision: str) -> None:
    model = native_graph(family, precision)
    states = []
    for value in model.graph.inputs:
        if (state := names.parse_past(value.name)) is not None:
            states.append(state)
        elif value.name != names.NUM_LOGITS_TO_KEEP:
            assert tuple(map(str, value.shape)) == INPUT_SHAPES[value.name], value.name
    logits, *presents = model.graph.outputs
    assert logits.name == names.LOGITS
    assert logits.shape == ir.Shape(logits_shape(logits.shape[-1]))
    assert [names.parse_present(value.name) for value in presents] == states
    assert {state.part for state in states} <= {
        names.KEY,
        names.VALUE,
        names.CONV_STATE,
        names.RECURRENT_STATE,
    }
    for node, operator in nodes_of(model):
        assert len(node.inputs) <= len(operator.operands)
        assert len(node.outputs) <= len(operator.outputs)
        assert set(node.attributes) <= set(operator.attributes), node.name
        if operator is GROUP_QUERY_ATTENTION:
            for operand in (names.SEQLENS_K, names.TOTAL_SEQUENCE_LENGTH):
                assert operator.find(operand, node.inputs).name == operand
