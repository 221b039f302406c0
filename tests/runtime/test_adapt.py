from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from genai.errors import ModelFolderError
from genai.folder import GraphNames, ModelFolder
from genai.graph.names import NUM_ROTARY_POSITIONS
from genai.runtime.adapt import adapt_model, read_model
from genai.runtime.adapt.graph import rename_values
from genai.runtime.adapt.long_rope import promote_rope_choice
from genai.runtime.decoder import Decoder
from tests.runtime.test_any_graph import graph_of
from tests.runtime.tiny_graphs import Reference, growing_attention, rotary_attention, shared_attention
from tests.spans import score

Folders = Callable[..., tuple[Path, Path]]


def names(values: object) -> list[str]:
    return [value.name for value in values]  # type: ignore[attr-defined]


def test_mask_chain_is_replaced_by_two_inputs(model_folder: Folders) -> None:
    model = read_model(model_folder("llama")[1] / "model.onnx")
    facts = adapt_model(model)
    inputs = names(model.graph.input)
    assert "attention_mask" not in inputs
    assert {"input_ids", "seqlens_k", "total_sequence_length", "num_logits_to_keep"} <= set(inputs)
    assert "num_logits_to_keep" not in names(model.graph.initializer)
    assert not {"ReduceSum"} & {node.op_type for node in model.graph.node}
    assert {"past_key_values.0.key", "past_key_values.1.value"} <= facts.shared
    assert facts.can_keep_none
    onnx.shape_inference.infer_shapes(model, strict_mode=False)


def test_adapting_twice_changes_nothing_more(model_folder: Folders) -> None:
    model = read_model(model_folder("llama")[1] / "model.onnx")
    adapt_model(model)
    once = model.SerializeToString()
    adapt_model(model)
    assert model.SerializeToString() == once


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
    model = helper.make_model(graph)
    adapt_model(model)
    assert [node.output[0] for node in model.graph.node] == ["captured", "out"]
    assert not model.graph.initializer


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff\xff not protobuf")
    with pytest.raises(ModelFolderError, match=r"model\.onnx"):
        read_model(tmp_path / "model.onnx")


def test_ports_get_their_canonical_names() -> None:
    model = graph_of(growing_attention, growing_attention).model()
    expected = Reference(model)([1, 2, 3])
    others = {
        "input_ids": "tokens",
        "logits": "scores",
        "hidden": "logits",  # a value inside, called as an output is to be
        **{f"past_key_values.{i}.key": f"k_in_{i}" for i in range(2)},
        **{f"present.{i}.key": f"k_out_{i}" for i in range(2)},
    }
    rename_values(model.graph, others)
    adapt_model(
        model,
        GraphNames(input_ids="tokens", past_key="k_in_%d", present_key="k_out_%d", logits="scores"),
    )
    plain = graph_of(growing_attention, growing_attention).model()
    adapt_model(plain)
    assert names(model.graph.input) == names(plain.graph.input)
    assert names(model.graph.output) == names(plain.graph.output)
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(Reference(model)([1, 2, 3]), expected)


def test_two_ports_of_one_name_are_refused() -> None:
    model = graph_of(growing_attention, position_ids=True).model()
    with pytest.raises(ModelFolderError, match="both position_ids and attention_mask"):
        adapt_model(model, GraphNames(position_ids="unused", attention_mask="position_ids"))


def test_a_past_that_something_else_reads_is_not_shared() -> None:
    model = graph_of(shared_attention, shared_attention, derives_positions=True).model()
    assert adapt_model(model).shared == {
        "past_key_values.0.value",
        "past_key_values.1.key",
        "past_key_values.1.value",
    }


def test_the_choice_of_a_rotary_table_becomes_an_input() -> None:
    model = graph_of(rotary_attention, rotary_attention).model()
    facts = adapt_model(model)
    assert facts.rope_switch_length == 8
    assert "use_long_rope" in names(model.graph.input)
    assert "attention_mask" not in names(model.graph.input)


@pytest.mark.parametrize("head", ["plain", "scaled", "last"])
def test_the_head_runs_on_as_many_positions_as_asked_for(head: str) -> None:
    graph = graph_of(shared_attention, head=head)
    model = graph.model()
    assert adapt_model(model).can_keep_none
    assert "num_logits_to_keep" in names(model.graph.input)
    onnx.checker.check_model(model)


@pytest.mark.parametrize("head", ["opaque", "opaque last", "kept"])
def test_a_head_that_is_not_understood_is_left_alone(head: str) -> None:
    inputs = {"num_logits_to_keep": "int64[1]"} if head == "kept" else {}
    model = graph_of(shared_attention, head=head, **inputs).model()
    head_nodes = [node.op_type for node in model.graph.node][-3:]
    assert not adapt_model(model).can_keep_none
    assert [node.op_type for node in model.graph.node][-3:] == head_nodes


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_rope_choice_is_found_behind_the_tables_alone(domain: str) -> None:
    """ONNX's RotaryEmbedding has its tables where com.microsoft's has positions, and positions where that has a table."""
    places = {"": "cos, sin, position_ids", "com.microsoft": "position_ids, cos, sin"}[domain]
    branches = "<then_branch = a () => ({0} y) {{ y = Identity({1}) }}, else_branch = b () => ({0} y) {{ y = Identity({2}) }}>"
    graph = onnx.parser.parse_graph(
        f"""g (float[1, 4, 8] x, int64 length, int64[1, 4] first, int64[1, 4] second,
              float[9, 4] short, float[9, 4] long) => (float[1, 4, 8] out) <int64 limit = {{32}}, int64 other = {{1}}> {{
            is_long = Greater(length, limit)
            is_first = Greater(length, other)
            cos = If {branches.format("float[9, 4]", "long", "short")} (is_long)
            sin = If {branches.format("float[9, 4]", "long", "short")} (is_long)
            position_ids = If {branches.format("int64[1, 4]", "first", "second")} (is_first)
            out = RotaryEmbedding(x, {places})
        }}"""
    )
    graph.node[-1].domain = domain
    assert promote_rope_choice(graph) == 32
    assert "use_long_rope" in names(graph.input)


def test_rotary_tables_are_computed_for_the_context_that_is_asked_for(model_folder: Folders) -> None:
    """Not longer than the graph's own; what a shorter context computes is the same."""
    folder = ModelFolder.load(model_folder("llama")[1])
    stored = onnx.load(folder.model_path, load_external_data=False).graph.initializer
    assert max(tensor.dims[0] for tensor in stored if tensor.dims and "rope" in tensor.name) < 100
    rows = {}
    for max_context in (40, 10**6, None):
        model = read_model(folder.model_path)
        adapt_model(model, max_context=max_context)
        (length,) = (t for t in model.graph.initializer if t.name == NUM_ROTARY_POSITIONS)
        rows[max_context] = int(numpy_helper.to_array(length))
    assert rows == {40: 40, 10**6: 256, None: 256}
    ids = list(range(5, 45))
    logits = []
    for max_context in (40, None):
        decoder = Decoder(folder, max_context=max_context)
        slot = decoder.cache.acquire(ids)
        assert slot is not None
        decoder.cache.reserve(len(ids))
        logits.append(score(decoder, slot, ids))
    np.testing.assert_array_equal(*logits)
