from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from genai.errors import ModelFolderError
from genai.runtime.adapt import adapt_model, read_model

Folders = Callable[..., tuple[Path, Path]]


def names(values: object) -> list[str]:
    return [value.name for value in values]  # type: ignore[attr-defined]


def test_mask_chain_is_replaced_by_two_inputs(model_folder: Folders) -> None:
    model = adapt_model(read_model(model_folder("llama")[1] / "model.onnx"))
    inputs = names(model.graph.input)
    assert "attention_mask" not in inputs
    assert {"input_ids", "seqlens_k", "total_sequence_length", "num_logits_to_keep"} <= set(inputs)
    assert "num_logits_to_keep" not in names(model.graph.initializer)
    assert not {"ReduceSum"} & {node.op_type for node in model.graph.node}
    onnx.shape_inference.infer_shapes(model, strict_mode=False)


def test_adapting_twice_changes_nothing_more(model_folder: Folders) -> None:
    model = adapt_model(read_model(model_folder("llama")[1] / "model.onnx"))
    once = model.SerializeToString()
    assert adapt_model(model).SerializeToString() == once


def test_values_that_subgraphs_need_are_kept() -> None:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    branch = helper.make_graph([helper.make_node("Identity", ["captured"], ["y"])], "branch", [], [value])
    nodes = [
        helper.make_node("Identity", ["x"], ["captured"]),
        helper.make_node("Identity", ["x"], ["dead"]),
        helper.make_node("If", ["condition"], ["out"], then_branch=branch, else_branch=branch),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
        [helper.make_tensor("unused", TensorProto.FLOAT, [1], np.ones(1))],
    )
    model = adapt_model(helper.make_model(graph))
    assert [node.output[0] for node in model.graph.node] == ["captured", "out"]
    assert not model.graph.initializer


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff\xff not protobuf")
    with pytest.raises(ModelFolderError, match=r"model\.onnx"):
        read_model(tmp_path / "model.onnx")
