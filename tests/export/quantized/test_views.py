"""Views of packed integers, and matrices of them as codes in blocks, for any sizes, slices, bits and groups."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genai.export.checkpoint.quantized.integers import IntegerRows, coded
from genai.export.checkpoint.quantized.views import PackedIntegers
from genai.export.checkpoint.rows import CodedRows, Rows, TransposedRows
from tests.export.quantized.encoders import words


@given(bits=st.integers(1, 8), columns=st.integers(1, 100), data=st.data())
def test_any_slice_of_packed_integers(bits: int, columns: int, data: st.DataObject) -> None:
    codes = np.random.default_rng(columns).integers(0, 2**bits, (5, columns)).astype(np.uint8)
    packed = PackedIntegers(words(codes, bits), bits, columns)
    rows, places = data.draw(st.slices(5)), data.draw(st.slices(columns))
    np.testing.assert_array_equal(packed[rows, places], codes[rows, places])
    np.testing.assert_array_equal(packed[rows], codes[rows])
    turned = TransposedRows(packed)
    assert (turned.shape, len(turned)) == (codes.T.shape, columns)
    np.testing.assert_array_equal(turned[places, rows], codes.T[places, rows])


@given(
    bits=st.sampled_from([2, 3, 4, 5, 8]),
    sizes=st.lists(st.sampled_from([16, 32, 48, 96, 512]), min_size=1, max_size=4),
    kind=st.sampled_from(["symmetric", "constant", "by group"]),
    is_shuffled=st.booleans(),
    rest=st.integers(0, 20),
)
def test_codes_in_blocks_mean_the_same(
    bits: int, sizes: list[int], kind: str, is_shuffled: bool, rest: int
) -> None:
    rng = np.random.default_rng(sum(sizes) + bits)
    groups = np.repeat(np.arange(len(sizes) + (rest > 0)), [*sizes, *([rest] if rest else [])])
    if is_shuffled:
        groups = rng.permutation(groups)
    num_groups = int(groups.max()) + 1
    zeros: Rows | int = {"symmetric": 2 ** (bits - 1), "constant": 1}.get(kind, 0)
    if kind == "by group":
        zeros = rng.integers(0, 2**bits, (6, num_groups)).astype(np.uint8)
    codes = rng.integers(0, 2**bits, (6, len(groups))).astype(np.uint8)
    scales = rng.random((6, num_groups)).astype(np.float16)
    rows = IntegerRows(codes, scales, zeros, bits, groups)
    view = coded(rows, method="test")
    assert isinstance(view, CodedRows)
    np.testing.assert_array_equal(view.matrix.dequantize(), rows[:])
    np.testing.assert_array_equal(view.matrix.dequantize(slice(2, 5)), view[2:5])
    assert view.matrix.scheme.is_symmetric or kind != "symmetric"
