"""Exporters' names, axes and order become this package's; what could not be fed is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from genai.errors import UnsupportedModelError
from genai.export.foreign.canonical import ForeignCache, make_canonical
from tests.export.foreign.graphs import VOCAB_SIZE, WIDTH, raw_decoder


def canonical(model: onnx.ModelProto | None = None) -> tuple[ir.Model, ForeignCache]:
    graph = ir.from_proto(model or raw_decoder())
    return graph, make_canonical(graph)


@pytest.mark.parametrize("prefix", ["cache.layers", "past_key_values.layers"])
def test_names_order_and_axes(prefix: str) -> None:
    model, cache = canonical(raw_decoder(prefix=prefix))
    assert cache == ForeignCache(num_layers=1, num_kv_heads=1, head_dim=WIDTH)
    assert {value.name: str(value.shape) for value in model.graph.inputs} == {
        "input_ids": "[batch_size,sequence_length]",
        "attention_mask": "[batch_size,total_sequence_length]",
        "past_key_values.0.key": f"[batch_size,1,past_sequence_length,{WIDTH}]",
        "past_key_values.0.value": f"[batch_size,1,past_sequence_length,{WIDTH}]",
    }
    assert model.graph.inputs[0].name == "input_ids"
    assert {value.name: str(value.shape) for value in model.graph.outputs} == {
        "logits": f"[batch_size,sequence_length,{VOCAB_SIZE}]",
        "present.0.key": f"[batch_size,1,total_sequence_length,{WIDTH}]",
        "present.0.value": f"[batch_size,1,total_sequence_length,{WIDTH}]",
    }
    onnx.checker.check_model(ir.to_proto(model))


def test_positions_stay_where_they_are_used() -> None:
    raw = raw_decoder()
    raw.graph.node.append(onnx.helper.make_node("Identity", ["position_ids"], ["seen"]))
    model, _ = canonical(raw)
    assert [value.name for value in model.graph.inputs][2] == "position_ids"


def test_it_computes_the_same() -> None:
    raw = raw_decoder()
    model, _ = canonical(raw_decoder())
    ids = np.asarray([[3, 9, 27, 5]])
    empty = np.zeros((1, 1, 0, WIDTH), np.float32)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    prefix = "input.past_key_values.layers.0"
    (expected,) = ort.InferenceSession(raw.SerializeToString()).run(
        ["logits"], feeds | {"position_ids": ids, f"{prefix}.keys": empty, f"{prefix}.values": empty}
    )
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    (found,) = session.run(
        ["logits"], feeds | {f"past_key_values.0.{part}": empty for part in ("key", "value")}
    )
    np.testing.assert_array_equal(found, expected)


def test_traces_of_the_machine_go() -> None:
    model = ir.from_proto(raw_decoder())
    for node in model.graph:
        node.metadata_props["pkg.torch.onnx.stack_trace"] = "File /home/somebody/model.py"
    make_canonical(model)
    assert b"somebody" not in ir.to_proto(model).SerializeToString()


def test_a_name_that_is_taken_gives_way() -> None:
    raw = raw_decoder()
    for node in raw.graph.node:
        for names in (node.input, node.output):
            names[:] = ["present.0.key" if name == "scores" else name for name in names]
    model, _ = canonical(raw)
    onnx.checker.check_model(ir.to_proto(model))
    assert [value.name for value in model.graph.outputs] == ["logits", "present.0.key", "present.0.value"]


def rename(old: str, new: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.name = new if value.name == old else value.name
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    return change


def ignore_mask(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["input_ids" if name == "attention_mask" else name for name in node.input]


def drop_output(model: onnx.ModelProto) -> None:
    del model.graph.output[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("input_ids", "pixel_values"), 'the input "pixel_values", which generation knows nothing of'),
        (rename("logits", "last_hidden_state"), 'the output "last_hidden_state"'),
        (ignore_mask, "makes no use of attention_mask"),
        (drop_output, "makes no use of present.0.value"),
    ],
)
def test_what_cannot_be_fed(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    raw = raw_decoder()
    change(raw)
    with pytest.raises(UnsupportedModelError, match=message):
        canonical(raw)


def test_a_fixed_axis() -> None:
    with pytest.raises(UnsupportedModelError, match=r"past_key_values.0.key has the shape \[2,1,s2,24\]"):
        canonical(raw_decoder(batch=2))
