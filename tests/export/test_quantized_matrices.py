"""Quantized matrices in ONNX Runtime against numpy: zero points, an order of the inputs, products, tables and experts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from genai.config import ExportSettings
from genai.errors import UnsupportedModelError
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.precision import Precision
from genai.export.build.quantized import (
    quantize_stacked,
    quantized_experts,
    quantized_product,
    quantized_rows,
    store_experts,
    store_matrix,
    store_table,
)
from genai.export.checkpoint.rows import (
    CodedRows,
    InterleavedRows,
    PaddedRows,
    SelectedRows,
    codes_of,
    stacked_codes,
)
from genai.export.write.graph_writer import write_graph
from genai.quantize import BlockScheme, QuantizedMatrix, pack_codes

NUM_ROWS = 10
FLOAT_ACTIVATIONS, INT8_ACTIVATIONS = 1, 4


def random_matrix(
    num_rows: int,
    num_columns: int,
    *,
    bits: int,
    has_zero_points: bool = True,
    has_offsets: bool = False,
    is_ordered: bool = False,
) -> QuantizedMatrix:
    rng = np.random.default_rng(num_columns)
    scheme = BlockScheme(bits, 16, is_symmetric=not has_zero_points, method="gptq")
    num_blocks = scheme.num_blocks(num_columns)
    codes = rng.integers(0, 2**bits, (num_rows, num_blocks, 16)).astype(np.uint8)
    points = rng.integers(0, 2**bits, (num_rows, num_blocks)).astype(np.uint8)
    return QuantizedMatrix(
        scheme,
        num_columns,
        codes=pack_codes(codes, bits=bits),
        scales=rng.uniform(0.01, 0.1, (num_rows, num_blocks)).astype(np.float32),
        zero_points=pack_codes(points, bits=bits) if has_zero_points else None,
        offsets=rng.normal(0, 0.5, (num_rows, num_blocks)).astype(np.float32) if has_offsets else None,
        input_order=rng.permutation(num_columns) if is_ordered else None,
    )


def run(
    build: Callable[[GraphBuilder, dict[str, ir.Value]], ir.Value],
    feeds: dict[str, np.ndarray],
    folder: Path,
    *,
    accuracy_level: int = FLOAT_ACTIVATIONS,
) -> np.ndarray:
    """Write and run a graph; all inputs and the output have as many axes as they say."""
    precision = dataclasses.replace(Precision.of(ExportSettings()), accuracy_level=accuracy_level)
    g = GraphBuilder(precision, {})
    inputs = {
        name: g.input(name, ir.DataType.from_numpy(value.dtype), value.shape) for name, value in feeds.items()
    }
    g.output(build(g, inputs), "y", ir.DataType.FLOAT, ["a", "b"])
    folder.mkdir()
    write_graph(g, folder, producer="test", version="0")
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], feeds)[0])


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("num_columns", "has_offsets"), [(48, False), (70, False), (48, True)])
@pytest.mark.parametrize("has_zero_points", [False, True])
@pytest.mark.parametrize("is_ordered", [False, True])
def test_products_and_tables(
    bits: int, num_columns: int, has_offsets: bool, has_zero_points: bool, is_ordered: bool, tmp_path: Path
) -> None:
    matrix = random_matrix(
        NUM_ROWS,
        num_columns,
        bits=bits,
        has_zero_points=has_zero_points,
        has_offsets=has_offsets,
        is_ordered=is_ordered,
    )
    weights = matrix.dequantize()
    x = np.random.default_rng(1).standard_normal((6, num_columns)).astype(np.float32)
    for level, tolerance in ((FLOAT_ACTIVATIONS, 1e-5), (INT8_ACTIVATIONS, 0.03)):

        def product(g: GraphBuilder, inputs: dict[str, ir.Value]) -> ir.Value:
            return quantized_product(g, inputs["x"], store_matrix(g, "w", matrix), None)

        found = run(product, {"x": x}, tmp_path / f"product {level}", accuracy_level=level)
        assert relative_error(found, x @ weights.T) < tolerance

    def rows(g: GraphBuilder, inputs: dict[str, ir.Value]) -> ir.Value:
        return quantized_rows(g, store_table(g, "w", matrix), inputs["ids"])

    ids = np.asarray([7, 0, 9, 7])
    np.testing.assert_allclose(run(rows, {"ids": ids}, tmp_path / "rows"), weights[ids], rtol=1e-5, atol=1e-7)


def test_a_product_shares_the_bytes_of_a_table(tmp_path: Path) -> None:
    """Zero points, offsets and the order of the inputs too."""
    matrix = random_matrix(NUM_ROWS, 64, bits=4, has_offsets=True, is_ordered=True)

    def build(g: GraphBuilder, inputs: dict[str, ir.Value]) -> ir.Value:
        table = store_table(g, "embedding", matrix)
        head = store_matrix(g, "head", matrix, shares=table)
        assert head.codes.name != table.codes.name
        assert (head.scales, head.zero_points) == (table.scales, table.zero_points)
        assert head.offsets is table.offsets is not None
        x = quantized_rows(g, table, inputs["ids"])
        return quantized_product(g, x, head, None)

    ids, weights = np.arange(NUM_ROWS), matrix.dequantize()
    assert relative_error(run(build, {"ids": ids}, tmp_path / "model"), weights @ weights.T) < 1e-5


class CountedRows:
    """A matrix, and how often each of its rows was read."""

    def __init__(self, rows: np.ndarray) -> None:
        self.shape, self._rows = rows.shape, rows
        self.num_reads = np.zeros(len(rows), int)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.num_reads[rows] += 1
        return self._rows[rows]


def test_writing_reads_every_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the matrices are a product's, a table's or experts', and although they pass in many chunks."""
    monkeypatch.setattr("genai.export.build.tensors.CHUNK_BYTES", 4096)
    rng, scheme = np.random.default_rng(0), BlockScheme(4, 16)
    views = [CountedRows(rng.standard_normal((96, 64)).astype(np.float32)) for _ in range(6)]
    g = GraphBuilder(Precision.of(ExportSettings()), {})
    store_matrix(g, "product", quantize_stacked(views[:2], scheme))
    table = store_table(g, "table", quantize_stacked(views[2:3], scheme))
    store_matrix(g, "head", table.matrix, shares=table)
    store_experts(g, "experts", quantize_stacked(views[3:], scheme), num_experts=3)
    write_graph(g, tmp_path, producer="test", version="0")
    assert all((view.num_reads == 1).all() for view in views)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("has_zero_points", [False, True])
def test_experts(bits: int, has_zero_points: bool, tmp_path: Path) -> None:
    size, width, num_experts = 32, 16, 3
    gate_up, down = (
        random_matrix(num_experts * rows, columns, bits=bits, has_zero_points=has_zero_points)
        for rows, columns in ((2 * width, size), (size, width))
    )

    def build(g: GraphBuilder, inputs: dict[str, ir.Value]) -> ir.Value:
        stored = [
            store_experts(g, name, matrix, num_experts=num_experts)
            for name, matrix in (("gate_up", gate_up), ("down", down))
        ]
        return quantized_experts(
            g,
            [inputs["x"], inputs["logits"]],
            (stored[0], None),
            (stored[1], None),
            k=1,
            normalize_routing_weights=1,
            activation_type="swiglu",
            swiglu_fusion=1,
            activation_alpha=1.0,
            activation_beta=0.0,
        )

    rng = np.random.default_rng(0)
    x, logits = rng.standard_normal((8, size)), rng.standard_normal((8, num_experts))
    first = gate_up.dequantize().reshape(num_experts, 2 * width, size)[logits.argmax(axis=1)]
    second = down.dequantize().reshape(num_experts, size, width)[logits.argmax(axis=1)]
    gate, up = np.moveaxis(np.einsum("tij,tj->ti", first, x).reshape(8, width, 2), -1, 0)
    expected = np.einsum("tij,tj->ti", second, gate / (1 + np.exp(-gate)) * up)
    feeds = {"x": x.astype(np.float32), "logits": logits.astype(np.float32)}
    # At 8 bits the kernel computes with int8 activations alone.
    assert relative_error(run(build, feeds, tmp_path / "model"), expected) < {4: 1e-5, 8: 0.05}[bits]


@pytest.mark.parametrize(
    ("options", "what"), [({"is_ordered": True}, "act-order"), ({"has_offsets": True}, "offsets")]
)
def test_experts_that_the_kernel_cannot_hold_are_refused(options: dict[str, bool], what: str) -> None:
    g = GraphBuilder(Precision.of(ExportSettings()), {})
    with pytest.raises(UnsupportedModelError, match=rf"layers\.0\.mlp\.experts\.down: .*{what}"):
        store_experts(g, "layers.0.mlp.experts.down", random_matrix(8, 32, bits=4, **options), num_experts=2)


def test_codes_follow_the_views_of_their_rows() -> None:
    """Selected, in turn, padded and stacked rows of coded matrices have codes that mean the same as their floats."""
    one, other = (CodedRows(random_matrix(n, 48, bits=4, has_offsets=True)) for n in (6, 6))
    indices = np.asarray([4, 1, 1])
    views = [
        one,
        SelectedRows(one, indices),
        InterleavedRows((one, other)),
        PaddedRows(one, 9),
        PaddedRows(one, 9, 80),
        InterleavedRows((SelectedRows(one, indices), SelectedRows(other, indices))),
    ]
    for view in views:
        matrix = codes_of(view)
        assert matrix is not None
        floats = np.asarray(view[:])
        floats[6:] *= not isinstance(view, PaddedRows)
        np.testing.assert_array_equal(matrix.dequantize(), floats)
        np.testing.assert_array_equal(matrix.dequantize(slice(1, 3)), floats[1:3])
    stacked = stacked_codes([one, SelectedRows(other, indices)])
    assert stacked is not None
    whole = np.concatenate([one[:], other[:][indices]])
    np.testing.assert_array_equal(stacked.dequantize(slice(4, 8)), whole[4:8])


def test_matrices_of_different_layouts_have_no_codes_together() -> None:
    one, other = CodedRows(random_matrix(6, 48, bits=4)), CodedRows(random_matrix(6, 48, bits=8))
    ordered = CodedRows(random_matrix(6, 48, bits=4, is_ordered=True))
    for pair in [(one, other), (one, ordered), (one, np.zeros((6, 48), np.float32))]:
        assert stacked_codes(pair) is None
        assert codes_of(InterleavedRows(pair)) is None
