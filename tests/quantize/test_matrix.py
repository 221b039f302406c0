"""A quantized matrix: rows are read once where it is written in order, and what another tool made is kept as it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.quantize import (
    BlockScheme,
    QuantizedMatrix,
    dequantize_rows,
    pack_codes,
    quantize_matrix,
    quantize_rows,
    unpack_codes,
)

NUM_ROWS, NUM_COLUMNS = 23, 70
SCHEME = BlockScheme(4, 32, is_symmetric=False)


class CountedRows:
    """Rows, and how often each was read."""

    def __init__(self, scheme: BlockScheme = SCHEME) -> None:
        self.rows = np.random.default_rng(0).standard_normal((NUM_ROWS, NUM_COLUMNS)).astype(np.float32)
        self.num_reads = np.zeros(NUM_ROWS, int)
        self.matrix = quantize_matrix(self.read, shape=self.rows.shape, scheme=scheme)

    def read(self, start: int, stop: int) -> np.ndarray:
        self.num_reads[start:stop] += 1
        return self.rows[start:stop]


def in_chunks(values: object, step: int) -> np.ndarray:
    return np.concatenate([values[start : start + step] for start in range(0, NUM_ROWS, step)])


@given(step=st.integers(1, NUM_ROWS), other_step=st.integers(1, NUM_ROWS))
def test_rows_are_read_once(step: int, other_step: int) -> None:
    source = CountedRows()
    codes, scales = in_chunks(source.matrix.codes, step), in_chunks(source.matrix.scales, other_step)
    points = in_chunks(source.matrix.zero_points, step)
    expected = quantize_rows(source.rows, SCHEME)
    np.testing.assert_array_equal(codes, expected.codes)
    np.testing.assert_array_equal(scales, expected.scales)
    np.testing.assert_array_equal(points, expected.zero_points)
    assert (source.num_reads == 1).all()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["codes", "scales", "zero_points"]),
            st.integers(0, NUM_ROWS),
            st.integers(0, NUM_ROWS),
        ),
        max_size=12,
    )
)
def test_any_order_of_reading_gives_the_same(reads: list[tuple[str, int, int]]) -> None:
    source = CountedRows()
    expected = quantize_rows(source.rows, SCHEME)
    for part, start, stop in reads:
        stop = max(start, stop)
        if start == stop:
            continue
        found = getattr(source.matrix, part)[start:stop]
        np.testing.assert_array_equal(found, getattr(expected, part)[start:stop])


def test_what_it_stands_for() -> None:
    source = CountedRows()
    expected = quantize_rows(source.rows, SCHEME)
    np.testing.assert_array_equal(
        source.matrix.dequantize(slice(3, 9)),
        dequantize_rows(
            expected.codes,
            expected.scales,
            SCHEME,
            num_columns=NUM_COLUMNS,
            zero_points=expected.zero_points,
        )[3:9],
    )


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_packing_can_be_undone(bits: int, count: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, (3, count)).astype(np.uint8)
    packed = pack_codes(codes, bits=bits)
    assert packed.shape == (3, -(-count * bits // 8))
    np.testing.assert_array_equal(unpack_codes(packed, bits=bits, count=count), codes)


def test_blocks_with_zero_points_and_an_order_of_the_inputs() -> None:
    """As GPTQ has them: input i is of group g_idx[i], and a weight is (code - zero_point) * scale of its group."""
    rng, scheme = np.random.default_rng(0), BlockScheme(4, 32, is_symmetric=False, method="gptq")
    num_columns, num_blocks = 96, 3
    groups = rng.permutation(np.repeat(np.arange(num_blocks), 32))
    codes = rng.integers(0, 16, (5, num_columns)).astype(np.uint8)
    points = rng.integers(0, 16, (5, num_blocks)).astype(np.uint8)
    scales = rng.standard_normal((5, num_blocks)).astype(np.float32)
    order = np.argsort(groups, kind="stable")
    matrix = QuantizedMatrix(
        scheme,
        num_columns,
        codes=pack_codes(codes[:, order], bits=4).reshape(5, num_blocks, 16),
        scales=scales,
        zero_points=pack_codes(points, bits=4),
        input_order=order,
    )
    expected = (codes.astype(np.float32) - points[:, groups]) * scales[:, groups]
    np.testing.assert_array_equal(matrix.dequantize(), expected)
    assert scheme.to_json() == {
        "method": "gptq",
        "bits": 4,
        "block_size": 32,
        "symmetric": False,
        "scales": "float32",
    }
