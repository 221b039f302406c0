"""Matrices of integers in groups of inputs: as floats, and as codes in blocks where ONNX Runtime's kernels hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.export.checkpoint.quantized.views import ComputedRows, slices_of
from genai.export.checkpoint.rows import CodedRows, Rows
from genai.quantize import BlockScheme, QuantizedMatrix, pack_codes

__all__ = ["IntegerRows", "coded", "groups_of"]

Floats = NDArray[np.float32]
Array = NDArray[Any]

MIN_BLOCK, MAX_BLOCK = 16, 256


@dataclass(frozen=True, slots=True)
class IntegerRows:
    """A matrix [outputs, inputs] with weights `(code - zero) * scale (+ offset)`; slices are float32.

    Args:
        codes: uint8 [outputs, inputs].
        scales: Floats [outputs, groups].
        zeros: uint8 [outputs, groups], or one for all.
        bits: Bits of a code.
        groups: int64 [inputs], the group of each input.
        offsets: Floats [outputs, groups]; `None` is 0.
    """

    codes: Rows
    scales: Rows
    zeros: Rows | int
    bits: int
    groups: NDArray[np.int64]
    offsets: Rows | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Its shape."""
        return (len(self.codes), len(self.groups))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Floats:
        rows, columns = slices_of(key)
        groups = self.groups[columns]
        weights: Floats = np.asarray(self.codes[rows, columns]).astype(np.float32)
        if isinstance(self.zeros, int):
            weights -= np.float32(self.zeros)
        else:
            weights -= _all(self.zeros, rows)[:, groups]
        with np.errstate(over="ignore"):  # infinity; whoever writes it refuses it
            weights *= _all(self.scales, rows).astype(np.float32)[:, groups]
        if self.offsets is not None:
            weights += _all(self.offsets, rows).astype(np.float32)[:, groups]
        return weights


def groups_of(num_columns: int, group_size: int) -> NDArray[np.int64]:
    """Return the group of each input where groups are neighbours."""
    return np.arange(num_columns, dtype=np.int64) // group_size


def coded(rows: IntegerRows, *, method: str, floats: Rows | None = None) -> Rows:
    """Return the same matrix with its codes, where blocks of inputs hold them; else as it is.

    A group is one block, or several with the same scale. Inputs that are not neighbours in their groups (act-order of
    GPTQ) are sorted by group, if all groups are of one size. Codes of fewer than 4 bits are kept in 4, of 5 to 7 in 8.
    Scales that are stored as float16 stay so.

    Args:
        rows: The matrix.
        method: The format's name, for the manifest.
        floats: The numbers, if not as the matrix itself gives them.
    """
    order = np.argsort(rows.groups, kind="stable") if (np.diff(rows.groups) < 0).any() else None
    groups = rows.groups if order is None else rows.groups[order]
    block_size = _block_size(groups)
    if block_size is None or (rows.offsets is not None and len(groups) % block_size):
        return rows
    bits = 4 if rows.bits <= 4 else 8
    middle, shift = 1 << (bits - 1), 0
    if isinstance(rows.zeros, int) and 0 <= middle - rows.zeros <= (1 << bits) - (1 << rows.bits):
        shift = middle - rows.zeros
    is_symmetric = isinstance(rows.zeros, int) and rows.zeros + shift == middle
    is_half = isinstance(rows.scales, np.ndarray) and rows.scales.dtype == np.float16
    scheme = BlockScheme(
        bits,
        block_size,
        is_symmetric=is_symmetric,
        method=method,
        scale_type="float16" if is_half else "float32",
    )
    blocks = _Blocks(rows, scheme, groups[::block_size], order, shift)
    matrix = QuantizedMatrix(
        scheme,
        len(groups),
        codes=ComputedRows((len(rows), len(blocks.groups), scheme.block_bytes), blocks.codes),
        scales=blocks.floats(rows.scales),
        zero_points=None
        if is_symmetric
        else ComputedRows((len(rows), scheme.zero_point_bytes(len(groups))), blocks.zero_points),
        offsets=None if rows.offsets is None else blocks.floats(rows.offsets),
        input_order=order,
    )
    return CodedRows(matrix, floats=rows if floats is None else floats)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Some rows at a time of a matrix of integers, in blocks.

    Args:
        rows: The matrix.
        scheme: The blocks.
        groups: int64 [blocks], the group of each block.
        order: Which input comes first, and so on; `None` is as they are.
        shift: What is added to codes.
    """

    rows: IntegerRows
    scheme: BlockScheme
    groups: NDArray[np.int64]
    order: NDArray[np.int64] | None
    shift: int

    def codes(self, part: slice) -> NDArray[np.uint8]:
        """Return packed codes, uint8 [rows, blocks, block_bytes]."""
        codes = _all(self.rows.codes, part) + np.uint8(self.shift)
        if self.order is not None:
            codes = codes[:, self.order]
        num_blocks, size = len(self.groups), self.scheme.block_size
        codes = np.pad(codes, ((0, 0), (0, num_blocks * size - codes.shape[1])))
        return pack_codes(codes.reshape(len(codes), num_blocks, size), bits=self.scheme.bits)

    def zero_points(self, part: slice) -> NDArray[np.uint8]:
        """Return packed zeros, uint8 [rows, zero_point_bytes]."""
        if isinstance(self.rows.zeros, int):
            num_rows = len(range(*part.indices(len(self.rows))))
            zeros = np.full((num_rows, len(self.groups)), self.rows.zeros, np.uint8)
        else:
            zeros = _all(self.rows.zeros, part)[:, self.groups]
        return pack_codes(zeros, bits=self.scheme.bits)

    def floats(self, values: Rows) -> ComputedRows:
        """Return what groups have as float32 [rows, blocks]."""
        return ComputedRows(
            (len(self.rows), len(self.groups)),
            lambda part: _all(values, part).astype(np.float32)[:, self.groups],
        )


def _block_size(groups: NDArray[np.int64]) -> int | None:
    """Return the largest block that divides all groups, which are sorted; `None` if none does."""
    num_columns, ends = len(groups), np.flatnonzero(np.diff(groups)) + 1
    if not len(ends):
        return max(MIN_BLOCK, math.gcd(num_columns, MAX_BLOCK))
    size = math.gcd(MAX_BLOCK, *ends.tolist())
    return size if size >= MIN_BLOCK else None


def _all(values: Rows, rows: slice) -> Array:
    """Some rows of a matrix, all columns."""
    return np.asarray(values[rows, :])
