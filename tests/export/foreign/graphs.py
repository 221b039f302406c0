"""A tiny decoder graph as an exporter would leave it: one attention layer, a cache that grows, names of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

VOCAB_SIZE, WIDTH = 40, 24


def random_matrix(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Return normally distributed weights."""
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape, dtype=np.float32) * np.float32(0.4)


def raw_decoder(*, prefix: str = "past_key_values.layers", batch: str | int = "s0") -> onnx.ModelProto:
    """Return a decoder of one layer and one head with transformers' names; its head repeats the embedding.

    Position enters by the causal mask alone: what is attended to is decided by the cache's length and the mask.
    """
    weights = {
        "embed": random_matrix(VOCAB_SIZE, WIDTH),
        "q": random_matrix(WIDTH, WIDTH, seed=1),
        "k": random_matrix(WIDTH, WIDTH, seed=2),
        "v": random_matrix(WIDTH, WIDTH, seed=3),
        "o": random_matrix(WIDTH, WIDTH, seed=4),
    }
    constants = {
        "heads": np.asarray([1], np.int64),
        "low": np.asarray(-1e4, np.float32),
        "zero": np.asarray(0, np.float32),
        "one": np.asarray(1, np.int64),
        "axis0": np.asarray(0, np.int64),
        "axes_mask": np.asarray([1, 2], np.int64),
    }
    n = helper.make_node
    past, present = f"input.{prefix}.0", f"output.{prefix}.0"
    nodes = [
        n("Gather", ["embed", "input_ids"], ["x"], doc_string="/home/somebody/model.py"),
        *(n("MatMul", ["x", name], [f"{name}3"]) for name in "qkv"),
        *(n("Unsqueeze", [f"{name}3", "heads"], [f"{name}4"]) for name in "qkv"),
        n("Concat", [f"{past}.keys", "k4"], [f"{present}.keys"], axis=2),
        n("Concat", [f"{past}.values", "v4"], [f"{present}.values"], axis=2),
        n("Transpose", [f"{present}.keys"], ["kt"], perm=[0, 1, 3, 2]),
        n("MatMul", ["q4", "kt"], ["scores"]),
        # Row i of the new tokens sees the cache and the tokens up to its own.
        n("Shape", ["attention_mask"], ["total"], start=1, end=2),
        n("Squeeze", ["total"], ["total0"]),
        n("Shape", ["input_ids"], ["new"], start=1, end=2),
        n("Squeeze", ["new"], ["new0"]),
        n("Sub", ["total0", "new0"], ["first"]),
        n("Range", ["first", "total0", "one"], ["rows"]),
        n("Range", ["axis0", "total0", "one"], ["columns"]),
        n("Unsqueeze", ["rows", "heads"], ["rows1"]),
        n("LessOrEqual", ["columns", "rows1"], ["causal"]),
        n("Cast", ["attention_mask"], ["kept"], to=TensorProto.BOOL),
        n("Unsqueeze", ["kept", "axes_mask"], ["kept4"]),
        n("And", ["causal", "kept4"], ["allowed"]),
        n("Where", ["allowed", "zero", "low"], ["bias"]),
        n("Add", ["scores", "bias"], ["biased"]),
        n("Softmax", ["biased"], ["weights"], axis=-1),
        n("MatMul", ["weights", f"{present}.values"], ["mixed4"]),
        n("Squeeze", ["mixed4", "heads"], ["mixed"]),
        n("MatMul", ["mixed", "o"], ["attended"]),
        n("Add", ["x", "attended"], ["y"]),
        n("Transpose", ["embed"], ["head"], perm=[1, 0]),
        n("MatMul", ["y", "head"], ["logits"]),
    ]
    f, i = TensorProto.FLOAT, TensorProto.INT64
    cache, grown = [batch, 1, "s2", WIDTH], [batch, 1, "s2 + s1", WIDTH]
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [
            helper.make_tensor_value_info(f"{past}.keys", f, cache),
            helper.make_tensor_value_info(f"{past}.values", f, cache),
            helper.make_tensor_value_info("attention_mask", i, [batch, "s3"]),
            helper.make_tensor_value_info("position_ids", i, [batch, "s1"]),
            helper.make_tensor_value_info("input_ids", i, [batch, "s1"]),
        ],
        [
            helper.make_tensor_value_info(f"{present}.values", f, grown),
            helper.make_tensor_value_info("logits", f, [batch, "s1", VOCAB_SIZE]),
            helper.make_tensor_value_info(f"{present}.keys", f, grown),
        ],
        [numpy_helper.from_array(array, name) for name, array in (weights | constants).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def save_raw_decoder(path: Path) -> Path:
    """Write the graph with its weights in a file beside it, as the exporters do."""
    onnx.save(
        raw_decoder(), path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024
    )
    return path
