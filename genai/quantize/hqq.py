"""Half-quadratic quantization: scales and zero points that suit most weights of a block, rather than its two ends.

Badri & Shaji 2023, https://mobiusml.github.io/hqq_blog/: the sum of |weight - rounded| to a power below 1, for which a few
large errors are cheap, is made smaller in two steps that alternate. The first takes a large part of the large errors out
(a generalized soft threshold), the second fits scale and zero point to what is left. Here a zero point is a whole code, as
MatMulNBits wants it, and hardly ever moves once it is rounded; so the scale is fitted too, by least squares, and both are
rounded as they are stored before the next step sees them.

All steps are made with a few rows before the next are looked at, in units of the scales and in place: what is computed on
the way stays in the processor's cache, which takes 40 ns a weight where whole matrices took 100.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genai.quantize.packing import pack_codes, unpack_codes
from genai.quantize.rtn import Floats, QuantizedRows, blocks_of, inverse_of, quantize_rows
from genai.quantize.scheme import BlockScheme

__all__ = ["half_quadratic_rows", "half_quadratic_sums"]

_NUM_STEPS = 5
_BETA, _GROWTH = 10.0, 1.01  # of errors in scales: the authors' numbers
_CHUNK = 1 << 15  # weights that are fitted at once: 128 KB in each array


def half_quadratic_rows(rows: Floats, scheme: BlockScheme) -> QuantizedRows:
    """Round rows so that each block's sum of errors to the power 3/4 is no more than that of rounding to nearest.

    Args:
        rows: float32 [rows, columns].
        scheme: How.
    """
    nearest = quantize_rows(rows, scheme)
    points: Floats = np.full(nearest.scales.shape, scheme.zero_point, np.float32)
    if nearest.zero_points is not None:
        points[:] = unpack_codes(nearest.zero_points, bits=scheme.bits, count=points.shape[1])
    scales, codes = nearest.scales.copy(), np.empty_like(nearest.codes)
    step = max(_CHUNK // rows.shape[1], 1)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        fit = _Fit(blocks_of(rows[part], scheme), scales[part], points[part], scheme)
        fit.improve()
        codes[part] = pack_codes(fit.codes(), bits=scheme.bits)
    packed = None if scheme.is_symmetric else pack_codes(points.astype(np.uint8), bits=scheme.bits)
    return QuantizedRows(codes, scales, packed)


def half_quadratic_sums(errors: Floats) -> Floats:
    """Return the sums along the last axis of |errors| to the power 3/4, which two roots give."""
    roots = np.sqrt(np.abs(errors))
    return _dot(roots, np.sqrt(roots))


class _Fit:
    """Some blocks, and the scales and zero points that suit them best so far.

    Args:
        blocks: float32 [rows, blocks, block_size].
        scales: float32 [rows, blocks]; better ones take their place.
        points: The zero points, whole numbers, float32 [rows, blocks]; likewise.
        scheme: How the blocks are rounded.
    """

    def __init__(self, blocks: Floats, scales: Floats, points: Floats, scheme: BlockScheme) -> None:
        self._blocks, self._scales, self._points, self._scheme = blocks, scales, points, scheme
        self._least = np.full(scales.shape, np.inf, np.float32)
        # In scales: the weights, the codes less the zero points, the errors, and the roots of the errors' sizes.
        self._units, self._numbers, self._errors = (np.empty_like(blocks) for _ in range(3))
        self._roots, self._fourth_roots = np.empty_like(blocks), np.empty_like(blocks)

    def improve(self) -> None:
        """Make all steps, each from where the one before it came to, and keep the best of every block."""
        scales, points = self._scales.copy(), self._points.copy()
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            for step in range(_NUM_STEPS + 1):
                self._round(scales, points)
                self._keep_better(scales, points)
                if step < _NUM_STEPS:
                    scales, points = self._next(scales, points, beta=_BETA * _GROWTH**step)

    def codes(self) -> NDArray[np.uint8]:
        """Return the codes with the best scales and zero points: uint8 [rows, blocks, block_size]."""
        with np.errstate(invalid="ignore"):  # of an infinite weight; whoever writes its scale refuses it
            self._round(self._scales, self._points)
            self._numbers += self._points[..., None]
            return self._numbers.astype(np.uint8)

    def _round(self, scales: Floats, points: Floats) -> None:
        np.multiply(self._blocks, inverse_of(scales)[..., None], out=self._units)
        np.rint(self._units, out=self._numbers)
        np.maximum(self._numbers, -points[..., None], out=self._numbers)
        np.minimum(self._numbers, (self._scheme.max_code - points)[..., None], out=self._numbers)

    def _keep_better(self, scales: Floats, points: Floats) -> None:
        """Keep scales and zero points where they make a block's sum smaller."""
        np.subtract(self._units, self._numbers, out=self._errors)
        np.sqrt(np.abs(self._errors, out=self._roots), out=self._roots)
        np.sqrt(self._roots, out=self._fourth_roots)
        sums = _dot(self._roots, self._fourth_roots) * half_quadratic_sums(scales[..., None])
        is_better = (sums < self._least) & (inverse_of(scales) != 0)
        for kept, found in ((self._scales, scales), (self._points, points), (self._least, sums)):
            np.copyto(kept, found, where=is_better)

    def _next(self, scales: Floats, points: Floats, *, beta: float) -> tuple[Floats, Floats]:
        """Take large errors out, and return the scales and zero points that suit the weights without them."""
        shrunk = self._shrunk_errors(beta)
        if not self._scheme.is_symmetric:
            moves = np.subtract(shrunk, self._errors, out=self._errors).mean(axis=-1)
            moved = np.clip(np.rint(points + moves), 0, self._scheme.max_code)
            self._numbers += (points - moved)[..., None]
            points = moved
        wanted = np.subtract(self._units, shrunk, out=self._units)
        squares = _dot(self._numbers, self._numbers)
        fitted = scales * _dot(wanted, self._numbers) / np.maximum(squares, 1)
        stored = fitted.astype(self._scheme.scale_type).astype(np.float32)
        return np.where(squares > 0, stored, scales), points

    def _shrunk_errors(self, beta: float) -> Floats:
        """Return errors without what is common, sign(e) max(|e| - |e|^(3/4 - 1) / beta, 0), in the place of the roots."""
        shrunk = np.multiply(self._roots, self._roots, out=self._roots)
        shrunk *= self._fourth_roots
        np.divide(np.float32(-1 / beta), shrunk, out=shrunk)
        shrunk += 1
        np.maximum(shrunk, 0, out=shrunk)
        shrunk *= self._errors
        return shrunk


def _dot(one: Floats, other: Floats) -> Floats:
    """Return the sums along the last axis of the products."""
    sums: Floats = np.vecdot(one, other)
    return sums
