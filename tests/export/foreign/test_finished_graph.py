"""Products with stored matrices: the same in floats however the matrix lies, and quantized as the native export's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from genai.config import ExportSettings
from genai.export.build.precision import Precision
from genai.export.foreign.finished_graph import finish_graph
from genai.export.write.graph_writer import write_graph
from genai.quantize import BlockScheme, round_to_nearest
from tests.export.foreign.graphs import random_matrix

VOCAB_SIZE, WIDTH, INNER, EXPERTS = 50, 40, 72, 3
IDS = np.asarray([[1, 7, 49, 0]])


def make_graph(weights: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Return embedding → Gemm with a bias → MatMul → each expert of one tensor → head that repeats the embedding."""
    n = helper.make_node
    constants = {
        "flat": np.asarray([-1, WIDTH], np.int64),
        "back": np.asarray([1, -1, WIDTH], np.int64),
        "axis": np.asarray([0], np.int64),
    }
    nodes = [
        n("Gather", ["embed", "input_ids"], ["x"]),
        n("Reshape", ["x", "flat"], ["x2"]),
        n("Gemm", ["x2", "up", "up_bias"], ["u"], transB=1),
        n("MatMul", ["u", "down"], ["d"]),
        n("Split", ["experts"], [f"part{e}" for e in range(EXPERTS)], axis=0, num_outputs=EXPERTS),
        *(n("Squeeze", [f"part{e}", "axis"], [f"expert{e}"]) for e in range(EXPERTS)),
        *(n("MatMul", ["d", f"expert{e}"], [f"e{e}"]) for e in range(EXPERTS)),
        n("Sum", [f"e{e}" for e in range(EXPERTS)], ["mixed"]),
        n("Reshape", ["mixed", "back"], ["y"]),
        n("MatMul", ["y", "head"], ["logits"]),
    ]
    if "head" not in weights:
        nodes.insert(-1, n("Transpose", ["embed"], ["head"], perm=[1, 0]))
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "S"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "S", VOCAB_SIZE])],
        [numpy_helper.from_array(array, name) for name, array in (weights | constants).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def make_weights(*, tied: str = "transposed") -> dict[str, NDArray[np.float32]]:
    weights = {
        "embed": random_matrix(VOCAB_SIZE, WIDTH),
        "up": random_matrix(INNER, WIDTH),
        "up_bias": random_matrix(INNER),
        "down": random_matrix(INNER, WIDTH, seed=1),
        "experts": random_matrix(EXPERTS, WIDTH, WIDTH),
    }
    if tied == "copied":
        weights["head"] = np.ascontiguousarray(weights["embed"].T)
    elif tied == "no":
        weights["head"] = random_matrix(WIDTH, VOCAB_SIZE, seed=2)
    return weights


def write(
    model: onnx.ModelProto, folder: Path, scheme: BlockScheme | None, **schemes: BlockScheme | None
) -> tuple[Counter[str], int]:
    """Finish and write a graph; return its operators and how many products were quantized."""
    precision = Precision("any", ir.DataType.FLOAT, scheme, schemes)
    finished = finish_graph(ir.from_proto(model), precision)
    write_graph(finished, folder, producer="genai", version="0")
    onnx.checker.check_model(folder / "model.onnx")
    graph = ir.load(folder / "model.onnx").graph
    return Counter(node.op_type for node in graph), finished.num_quantized


def logits_of(source: Path | bytes, feeds: dict[str, NDArray[np.int64]] | None = None) -> NDArray[np.float32]:
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], feeds or {"input_ids": IDS})[0])


@pytest.mark.parametrize("tied", ["transposed", "copied", "no"])
def test_floats_stay_what_they_were(tied: str, tmp_path: Path) -> None:
    model = make_graph(make_weights(tied=tied))
    counts, num_quantized = write(model, tmp_path, None)
    expected = logits_of(model.SerializeToString())
    np.testing.assert_allclose(logits_of(tmp_path / "model.onnx"), expected, rtol=0, atol=1e-5)
    assert num_quantized == 0
    # A head that repeats the embedding reads its rows; no transpose and no second copy is left.
    assert counts["FusedMatMul"] == (tied != "no")
    assert counts["Transpose"] == 0
    size_bytes = (tmp_path / "model.onnx.data").stat().st_size
    copies = 2 if tied == "no" else 1
    assert size_bytes < 4 * (copies * VOCAB_SIZE * WIDTH + 2 * INNER * WIDTH + EXPERTS * WIDTH**2) + 1024


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tied", ["transposed", "copied", "no"])
def test_quantized_as_dequantized_weights(tied: str, bits: int, tmp_path: Path) -> None:
    """The graph computes what the original does with weights that were rounded, up to 8-bit activations."""
    scheme = BlockScheme(bits, 32)
    weights = make_weights(tied=tied)
    counts, num_quantized = write(make_graph(weights), tmp_path, scheme)
    assert (num_quantized, counts["MatMulNBits"]) == (3 + EXPERTS, 3 + EXPERTS)
    assert counts["GatherBlockQuantized"] == 1
    assert counts["MatMul"] + counts["Gemm"] + counts["FusedMatMul"] + counts["Split"] == 0

    def rounded(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return round_to_nearest(rows, scheme)

    twin = dict(weights)
    twin["embed"], twin["up"] = rounded(weights["embed"]), rounded(weights["up"])
    twin["down"] = rounded(weights["down"].T).T.copy()
    twin["experts"] = np.stack([rounded(expert.T).T for expert in weights["experts"]])
    if "head" in weights:
        twin["head"] = rounded(weights["head"].T).T.copy()
    expected = logits_of(make_graph(twin).SerializeToString())
    found = logits_of(tmp_path / "model.onnx")
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < 0.02  # int8 activations (accuracy_level 4); weights of another block would be far off
    far = np.linalg.norm(logits_of(make_graph(weights).SerializeToString()) - expected)
    assert bits == 8 or far / np.linalg.norm(expected) > 0.05


def test_a_tied_head_is_stored_once(tmp_path: Path) -> None:
    sizes = {}
    for tied in ("transposed", "copied", "no"):
        (tmp_path / tied).mkdir()
        write(make_graph(make_weights(tied=tied)), tmp_path / tied, BlockScheme(8, 32))
        sizes[tied] = (tmp_path / tied / "model.onnx.data").stat().st_size
    assert sizes["transposed"] == sizes["copied"] < sizes["no"] - VOCAB_SIZE * WIDTH


def test_modules_have_schemes_of_their_own(tmp_path: Path) -> None:
    """The head, which repeats the embedding, has another scheme or none, and one product is left as it was."""
    weights, scheme = make_weights(tied="transposed"), BlockScheme(4, 32)
    expected = logits_of(make_graph(weights).SerializeToString())
    sizes = {}
    for name, head in (("int8", BlockScheme(8, 32)), ("floats", None)):
        (tmp_path / name).mkdir()
        counts, num_quantized = write(make_graph(weights), tmp_path / name, scheme, head=head, down=None)
        assert num_quantized == counts["MatMulNBits"] == 2 + EXPERTS - (head is None)
        assert counts["GatherBlockQuantized"] == counts["MatMul"] == 1
        assert counts["FusedMatMul"] == (head is None)
        found = logits_of(tmp_path / name / "model.onnx")
        assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.3
        sizes[name] = (tmp_path / name / "model.onnx.data").stat().st_size
    assert sizes["int8"] < sizes["floats"]


def test_a_router_keeps_its_floats(tmp_path: Path) -> None:
    n = helper.make_node
    weights = {"w": random_matrix(32, 64), "router": random_matrix(64, 8)}
    graph = helper.make_graph(
        [
            n("MatMul", ["x", "w"], ["h"]),
            n("MatMul", ["h", "router"], ["scores"]),
            n("Softmax", ["scores"], ["shares"]),
            n("TopK", ["shares", "k"], ["best", "logits"]),
        ],
        "main_graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["S", 32])],
        [helper.make_tensor_value_info("logits", TensorProto.INT64, ["S", 2])],
        [
            *(numpy_helper.from_array(array, name) for name, array in weights.items()),
            numpy_helper.from_array(np.asarray([2], np.int64), "k"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    counts, num_quantized = write(model, tmp_path, BlockScheme(4, 32))
    assert (num_quantized, counts["MatMul"], counts["MatMulNBits"]) == (1, 1, 1)


def test_small_tensors_stay_in_the_protobuf(tmp_path: Path) -> None:
    """ONNX Runtime reads shapes and axes from there while it plans."""
    write(make_graph(make_weights()), tmp_path, None)
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    outside = {t.name for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL}
    assert {"embed", "up", "down", "experts"} <= outside
    assert not {"flat", "back", "axis", "up_bias"} & outside


def test_of_a_mixture_those_modules_are_named_that_there_are() -> None:
    precision = Precision.of(ExportSettings("int4"))
    finished = finish_graph(ir.from_proto(make_graph(make_weights(tied="no"))), precision)
    assert {"embedding", "head", "up"} <= finished.modules
    named = precision.limited_to(finished.modules).to_json()["modules"]
    assert list(named) == ["embedding", "head"], "none is called *.attention.q"
