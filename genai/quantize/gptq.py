"""GPTQ: codes chosen column by column, each column making up for the errors of those before it.

https://arxiv.org/abs/2210.17323, without an order of the columns other than theirs (act-order).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genai.quantize.matrix import QuantizedMatrix
from genai.quantize.packing import pack_codes, unpack_codes
from genai.quantize.rtn import inverse_of, quantize_rows
from genai.quantize.scheme import BlockScheme

__all__ = ["DAMPING", "gptq"]

Floats = NDArray[np.float32]

DAMPING = 0.2
"""With few thousand tokens of calibration, less fits these tokens and no others (0.05), and more gives gains away (1)."""

_LAZY_COLUMNS = (
    32  # columns whose errors reach those further right in one product; divides, or is divided by, a block
)


def gptq(
    weights: Floats, hessian: NDArray[np.floating], scheme: BlockScheme, *, damping: float = DAMPING
) -> QuantizedMatrix:
    """Quantize a matrix so that its products with inputs like those of the calibration change little.

    Columns are rounded from left to right. What rounding one of them changes in the products is made up for, as far as
    the columns to the right of it can, by least squares. A block's scale and zero point are those of rounding to
    nearest, of the weights that are there when the first of its columns is reached.

    Args:
        weights: float32 [outputs, inputs].
        hessian: The sum, or mean, of x xᵀ over the inputs x of the calibration, [inputs, inputs].
        scheme: How it is to be quantized.
        damping: Added to the diagonal of the Hessian, as a share of the diagonal's mean.
    """
    num_rows, num_columns = weights.shape
    factor = _inverse_factor(hessian, damping)
    remaining = np.ascontiguousarray(weights.T, np.float32)  # a column is a row here, and contiguous
    blocks = _Blocks.allocate(num_rows, num_columns, scheme)
    for start in range(0, num_columns, _LAZY_COLUMNS):
        stop = min(start + _LAZY_COLUMNS, num_columns)
        errors = np.empty((stop - start, num_rows), np.float32)
        for column in range(start, stop):
            if column % scheme.block_size == 0:
                blocks.begin(column, remaining[column : column + scheme.block_size].T)
            error = remaining[column] - blocks.round(column, remaining[column])
            error /= factor[column, column]
            remaining[column + 1 : stop] -= np.outer(factor[column, column + 1 : stop], error)
            errors[column - start] = error
        remaining[stop:] -= factor[start:stop, stop:].T @ errors
    return blocks.matrix(num_columns)


class _Blocks:
    """The codes, scales and zero points that have been chosen so far.

    Args:
        scheme: How the matrix is quantized.
        codes: uint8 [columns of whole blocks, outputs]; what pads the last block stands for 0.
        scales: float32 [outputs, blocks].
        zero_points: float32 [outputs, blocks].
    """

    def __init__(
        self, scheme: BlockScheme, codes: NDArray[np.uint8], scales: Floats, zero_points: Floats
    ) -> None:
        self._scheme, self._codes, self._scales, self._zero_points = scheme, codes, scales, zero_points
        self._inverse = scales[:, 0]

    @classmethod
    def allocate(cls, num_rows: int, num_columns: int, scheme: BlockScheme) -> _Blocks:
        """Return blocks of which no code has been chosen."""
        num_blocks = scheme.num_blocks(num_columns)
        codes = np.zeros((num_blocks * scheme.block_size, num_rows), np.uint8)
        zero_points = np.full((num_rows, num_blocks), scheme.zero_point, np.float32)
        return cls(scheme, codes, np.empty((num_rows, num_blocks), np.float32), zero_points)

    def begin(self, column: int, weights: Floats) -> None:
        """Choose scales and zero points of the block that begins at a column: [outputs, up to block_size]."""
        block = column // self._scheme.block_size
        rounded = quantize_rows(weights, self._scheme)
        scales = self._scales[:, block] = rounded.scales[:, 0]
        if rounded.zero_points is not None:
            points = unpack_codes(rounded.zero_points, bits=self._scheme.bits, count=1)
            self._zero_points[:, block] = points[:, 0]
        self._inverse = inverse_of(scales)
        self._codes[column : column + self._scheme.block_size] = self._zero_points[:, block]

    def round(self, column: int, weights: Floats) -> Floats:
        """Choose the codes of a column, and return the weights that they stand for: [outputs]."""
        block = column // self._scheme.block_size
        points = self._zero_points[:, block]
        codes = np.clip(np.rint(weights * self._inverse) + points, 0, self._scheme.max_code)
        self._codes[column] = codes
        values: Floats = (codes - points) * self._scales[:, block]
        return values

    def matrix(self, num_columns: int) -> QuantizedMatrix:
        """Return all that was chosen, packed."""
        scheme = self._scheme
        codes = self._codes.T.reshape(*self._scales.shape, scheme.block_size)
        return QuantizedMatrix(
            scheme,
            num_columns,
            codes=pack_codes(codes, bits=scheme.bits),
            scales=self._scales,
            zero_points=None
            if scheme.is_symmetric
            else pack_codes(self._zero_points.astype(np.uint8), bits=scheme.bits),
        )


def _inverse_factor(hessian: NDArray[np.floating], damping: float) -> Floats:
    """Return the upper triangular U with Uᵀ U = inverse of the damped Hessian.

    The Hessian is R Rᵀ with an upper triangular R, which is its Cholesky factor in reverse order, and U is R's inverse.
    """
    damped = hessian.astype(np.float64)
    mean = float(np.mean(np.diagonal(damped)))
    damped[np.diag_indices_from(damped)] += damping * mean if mean > 0 else 1.0
    reverse = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    factor: Floats = np.triu(np.linalg.inv(reverse)).astype(np.float32)
    return factor
