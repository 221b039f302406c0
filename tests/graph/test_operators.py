"""The operators' signatures against ONNX Runtime's own schemas."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from genai.graph.operators import GROUP_QUERY_ATTENTION, OPERATORS, Operator, find_operator
from genai.graph.opset import IR_VERSION, MICROSOFT, ONNX, OPSETS

SCHEMAS: dict[tuple[str, str], Any] = {}
for each in get_all_operator_schema():
    known = SCHEMAS.get((each.domain, each.name))
    if each.since_version <= OPSETS.get(each.domain, 0) and (
        known is None or known.since_version < each.since_version
    ):
        SCHEMAS[each.domain, each.name] = each


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: f"{operator.domain}.{operator.op_type}")
def test_signatures_are_the_beginnings_of_onnx_runtimes(operator: Operator) -> None:
    schema = SCHEMAS[operator.domain, operator.op_type]
    inputs, outputs = ([each.name for each in values] for values in (schema.inputs, schema.outputs))
    assert list(operator.operands) == inputs[: len(operator.operands)]
    assert list(operator.outputs) == outputs[: len(operator.outputs)]
    assert set(operator.attributes) <= set(schema.attributes)


def test_opset_is_one_that_onnx_knows() -> None:
    assert OPSETS[ONNX] <= onnx.defs.onnx_opset_version()
    assert IR_VERSION <= onnx.IR_VERSION


def test_operands_by_name() -> None:
    inputs = GROUP_QUERY_ATTENTION.arrange(query="q", seqlens_k="s", past_key=None)
    assert inputs == ["q", None, None, None, None, "s"]
    assert GROUP_QUERY_ATTENTION.find("seqlens_k", inputs) == "s"
    assert GROUP_QUERY_ATTENTION.find("past_key", ["q", "", "", ""]) is None
    assert GROUP_QUERY_ATTENTION.find("head_sink", inputs) is None
    with pytest.raises(AssertionError, match="has no operand seqlens"):
        GROUP_QUERY_ATTENTION.arrange(seqlens="s")


def test_operators_are_found_by_domain_too() -> None:
    ours, onnxs = (find_operator(domain, "RotaryEmbedding") for domain in (MICROSOFT, "ai.onnx"))
    assert ours is not None
    assert onnxs is not None
    assert (ours.index("position_ids"), onnxs.index("position_ids")) == (1, 3)
    assert find_operator(MICROSOFT, "Gather") is None
