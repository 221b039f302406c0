"""Half-quadratic quantization: scales and zero points that suit most weights of a block, rather than its two ends.

Badri & Shaji 2023, https://mobiusml.github.io/hqq_blog/: the sum of |weight - rounded| to a power below 1, for which a few
large errors are cheap, is made smaller in two steps that alternate. The first takes a large part of the large errors out
(a generalized soft threshold), the second fits scale and zero point to what is left. Here a zero point is a whole code, as
MatMulNBits wants it, and hardly ever moves once it is rounded; so the scale is fitted too, by least squares, and both are
rounded as they are stored before the next step sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from genai.quantize.packing import pack_codes, unpack_codes
from genai.quantize.rtn import Floats, QuantizedRows, blocks_of, inverse_of, quantize_rows
from genai.quantize.scheme import BlockScheme

__all__ = ["half_quadratic_rows", "half_quadratic_sums"]

_NUM_STEPS = 5
_BETA, _GROWTH = 10.0, 1.01  # of errors in scales: the authors' numbers
_LEAST = 1e-8


def half_quadratic_rows(rows: Floats, scheme: BlockScheme) -> QuantizedRows:
    """Round rows so that each block's sum of errors to the power 3/4 is no more than that of rounding to nearest.

    Args:
        rows: float32 [rows, columns].
        scheme: How.
    """
    blocks = blocks_of(rows, scheme)
    fit = best = _Fit.nearest(rows, blocks, scheme)
    for step in range(_NUM_STEPS):
        fit = fit.improved(blocks, scheme, beta=_BETA * _GROWTH**step)
        best = best.or_better(fit)
    codes, points = best.codes.astype(np.uint8), best.zero_points.astype(np.uint8)
    return QuantizedRows(
        pack_codes(codes, bits=scheme.bits),
        best.scales,
        None if scheme.is_symmetric else pack_codes(points, bits=scheme.bits),
    )


def half_quadratic_sums(errors: Floats) -> Floats:
    """Return the sums along the last axis of |errors| to the power 3/4, which two roots give."""
    roots = np.sqrt(np.abs(errors))
    sums: Floats = (roots * np.sqrt(roots)).sum(axis=-1)
    return sums


@dataclass(frozen=True, slots=True)
class _Fit:
    """Blocks as they are rounded with some scales and zero points.

    Args:
        codes: Whole numbers, float32 [rows, blocks, block_size].
        scales: float32 [rows, blocks].
        zero_points: Whole numbers, float32 [rows, blocks].
        errors: The weights less what they are rounded to, float32 [rows, blocks, block_size].
        sums: What is to be small, float32 [rows, blocks].
    """

    codes: Floats
    scales: Floats
    zero_points: Floats
    errors: Floats
    sums: Floats

    @classmethod
    def nearest(cls, rows: Floats, blocks: Floats, scheme: BlockScheme) -> Self:
        """Round to nearest."""
        rounded = quantize_rows(rows, scheme)
        points = np.full(rounded.scales.shape, scheme.zero_point, np.float32)
        if rounded.zero_points is not None:
            unpacked = unpack_codes(
                rounded.zero_points, bits=scheme.bits, count=scheme.num_blocks(rows.shape[1])
            )
            points = unpacked.astype(np.float32)
        return cls._of(blocks, rounded.scales, points, scheme)

    @classmethod
    def _of(cls, blocks: Floats, scales: Floats, points: Floats, scheme: BlockScheme) -> Self:
        codes = np.multiply(blocks, inverse_of(scales)[..., None])
        np.rint(codes, out=codes)
        codes += points[..., None]
        np.clip(codes, 0, scheme.max_code, out=codes)
        with np.errstate(invalid="ignore"):  # of an infinite scale; whoever writes it refuses it
            errors = blocks - (codes - points[..., None]) * scales[..., None]
        return cls(codes, scales, points, errors, half_quadratic_sums(errors))

    def improved(self, blocks: Floats, scheme: BlockScheme, *, beta: float) -> Self:
        """Take large errors out, and fit scales and zero points to the weights without them."""
        inverse, numbers = inverse_of(self.scales), self.codes - self.zero_points[..., None]
        with np.errstate(invalid="ignore", over="ignore"):
            wanted = blocks - _shrunk(self.errors * inverse[..., None], beta) * self.scales[..., None]
            points = self.zero_points
            if not scheme.is_symmetric:
                means = (self.codes - wanted * inverse[..., None]).mean(axis=-1)
                points = np.clip(np.rint(means), 0, scheme.max_code)
                numbers = self.codes - points[..., None]
            squares = np.square(numbers).sum(axis=-1)
            fitted = (wanted * numbers).sum(axis=-1) / np.maximum(squares, 1)
            scales = np.where(squares > 0, fitted, self.scales).astype(scheme.scale_type).astype(np.float32)
        return self._of(blocks, scales, points, scheme)

    def or_better(self, other: Self) -> Self:
        """Return the better one for each block; this one where both are as good."""
        is_better = other.sums < self.sums
        parts = {
            name: np.where(is_better[..., None] if name in ("codes", "errors") else is_better, new, old)
            for name, new, old in (
                ("codes", other.codes, self.codes),
                ("scales", other.scales, self.scales),
                ("zero_points", other.zero_points, self.zero_points),
                ("errors", other.errors, self.errors),
                ("sums", other.sums, self.sums),
            )
        }
        return type(self)(**parts)


def _shrunk(errors: Floats, beta: float) -> Floats:
    """Return errors, in scales, without what is common: sign(e) max(|e| - |e|^(3/4 - 1) / beta, 0)."""
    sizes = np.maximum(np.abs(errors), _LEAST)
    shrunk: Floats = np.sign(errors) * np.maximum(sizes - 1 / (beta * np.sqrt(np.sqrt(sizes))), 0)
    return shrunk
