"""Blocks of every type against the gguf package's own decoding of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from genai.export.checkpoint.gguf.blocks import CARRIED
from genai.export.checkpoint.gguf.reader import StoredTensor
from genai.export.checkpoint.gguf.tensors import matrix_of
from genai.export.checkpoint.gguf.types import FLOATS, INTEGERS, TYPES
from genai.export.checkpoint.rows import (
    CodedRows,
    DecodedRows,
    Experts,
    SelectedRows,
    codes_of,
    stacked_codes,
)

NUM_ROWS, NUM_COLUMNS = 6, 512

HALVES = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_1": (0, 2),
    "Q5_1": (0, 2),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ1_M": (),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
    "MXFP4": (),
}
"""Where a block has float16 numbers, if not at its beginning alone; random bytes would make infinities of them."""

EXACT = {"Q4_0", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"}


def random_tensor(
    type_name: str, *, seed: int = 0, shape: tuple[int, ...] = (NUM_ROWS, NUM_COLUMNS)
) -> StoredTensor:
    """Return a tensor of random blocks whose scales are ordinary numbers."""
    block, block_bytes = next(
        (size, num_bytes) for name, size, num_bytes in TYPES.values() if name == type_name
    )
    num_rows = int(np.prod(shape[:-1]))
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (num_rows, shape[-1] // block, block_bytes)).astype(np.uint8)
    for start in HALVES.get(type_name, (0,)):
        scales = random.normal(0, 0.05, blocks.shape[:2]).astype("<f2")
        blocks[..., start : start + 2] = scales[..., None].view(np.uint8)
    if type_name == "MXFP4":
        blocks[..., 0] = random.integers(110, 130, blocks.shape[:2])
    if type_name == "IQ1_M":  # its scale lies in four halves of bytes
        blocks[..., 49::2] = (blocks[..., 49::2] & 0x0F) | 0x20
    return StoredTensor(Path("x.gguf"), type_name, shape, blocks.reshape(num_rows, -1), block_bytes)


def reference(tensor: StoredTensor) -> np.ndarray:
    return dequantize(np.ascontiguousarray(tensor.rows), GGMLQuantizationType[tensor.type_name])


def test_sizes_are_the_packages() -> None:
    for number, (name, block, block_bytes) in TYPES.items():
        assert GGML_QUANT_SIZES[GGMLQuantizationType(number)] == (block, block_bytes)
        assert GGMLQuantizationType(number).name == name


@pytest.mark.parametrize("type_name", sorted(CARRIED))
def test_carried_codes_stand_for_the_weights(type_name: str) -> None:
    tensor = random_tensor(type_name)
    rows, expected = matrix_of(tensor), reference(tensor)
    assert isinstance(rows, CodedRows)
    assert rows.matrix.scheme.method == f"gguf-{type_name.lower()}"
    found = rows[:]
    if type_name in EXACT:
        np.testing.assert_array_equal(found, expected)
    else:  # code - 8, and 8 times the scale in the offset: two roundings of numbers as large as these
        largest = np.abs(expected).max() + 8 * np.abs(rows.matrix.scales[:]).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=2**-23 * largest)


@pytest.mark.parametrize("type_name", sorted({name for name, *_ in TYPES.values()} - set(INTEGERS)))
def test_any_rows_and_columns_can_be_read(type_name: str) -> None:
    tensor = random_tensor(type_name, seed=1)
    rows = matrix_of(tensor)
    if type_name in FLOATS:
        assert np.asarray(rows).shape == (NUM_ROWS, NUM_COLUMNS)
        return
    whole = rows[:]
    np.testing.assert_allclose(whole, reference(tensor), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(rows[2:5], whole[2:5])
    np.testing.assert_array_equal(rows[2:5, 7:70], whole[2:5, 7:70])
    assert rows[3:3].shape == (0, NUM_COLUMNS)
    assert isinstance(rows, CodedRows if type_name in CARRIED else DecodedRows)


@pytest.mark.parametrize("type_name", ["Q4_K", "Q8_0", "Q6_K"])
def test_codes_follow_selected_and_stacked_rows(type_name: str) -> None:
    rows = matrix_of(random_tensor(type_name))
    order = np.asarray([5, 0, 3, 2])
    matrix = codes_of(SelectedRows(rows, order))
    assert matrix is not None
    np.testing.assert_array_equal(matrix.dequantize(), rows[:][order])
    other = matrix_of(random_tensor(type_name, seed=2))
    stacked = stacked_codes(Experts((rows, other)).parts)
    assert stacked is not None
    np.testing.assert_array_equal(stacked.dequantize(slice(4, 8)), np.concatenate([rows[4:], other[:2]]))
