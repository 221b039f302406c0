"""A quantized matrix as a value: made here from float rows in one pass, or carried over from another tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genai.quantize.hqq import half_quadratic_rows
from genai.quantize.rtn import QuantizedRows, dequantize_rows, quantize_rows
from genai.quantize.scheme import BlockScheme

__all__ = ["Layout", "QuantizedMatrix", "Slices", "quantize_matrix"]

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]


class Slices(Protocol):
    """Something read some rows at a time: `values[a:b]` is an array. A mapped array is one already."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, the rows first."""
        ...

    def __getitem__(self, rows: slice, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Layout:
    """What quantized matrices of one shape can differ in, beside their values."""

    scheme: BlockScheme
    num_columns: int
    has_offsets: bool
    input_order: bytes | None


@dataclass(frozen=True, slots=True)
class QuantizedMatrix:
    """A matrix [outputs, inputs] as codes and scales, packed as MatMulNBits wants them.

    What another tool quantized is held bit for bit: its zero points, and the order in which it took the inputs. With
    an order (act-order of GPTQ, https://arxiv.org/abs/2210.17323) column j belongs to input `input_order[j]`, so that
    a block is still block_size neighbours; a `g_idx` is brought into this form by sorting the columns by it.

    Args:
        scheme: Bits, block size, and whether there are zero points.
        num_columns: Inputs, without those that pad the last block.
        codes: uint8 [outputs, blocks, block_bytes].
        scales: float32 [outputs, blocks].
        zero_points: uint8 [outputs, zero_point_bytes], packed along the blocks; there are some exactly if the scheme
            is not symmetric.
        offsets: float32 [outputs, blocks], added to every weight of a block, for formats whose zero is no code
            (Q4_1 and Q4_K of llama.cpp); `None` is 0.
        input_order: int64 [inputs], a permutation; `None` is the identity.
    """

    scheme: BlockScheme
    num_columns: int
    codes: Slices
    scales: Slices
    zero_points: Slices | None = None
    offsets: Slices | None = None
    input_order: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        num_blocks = self.scheme.num_blocks(self.num_columns)
        assert self.codes.shape == (self.num_rows, num_blocks, self.scheme.block_bytes), self.codes.shape
        assert self.scales.shape == (self.num_rows, num_blocks), self.scales.shape
        assert (self.zero_points is None) == self.scheme.is_symmetric, "zero points are of asymmetric schemes"
        if self.zero_points is not None:
            expected = (self.num_rows, self.scheme.zero_point_bytes(self.num_columns))
            assert self.zero_points.shape == expected, self.zero_points.shape
        if self.offsets is not None:
            assert self.offsets.shape == self.scales.shape, self.offsets.shape
            assert self.num_columns % self.scheme.block_size == 0, "offsets are of whole blocks"
        if self.input_order is not None:
            assert np.array_equal(np.sort(self.input_order), np.arange(self.num_columns)), "a permutation"

    @property
    def layout(self) -> Layout:
        """What it must have in common with another to be stacked with it."""
        order = None if self.input_order is None else self.input_order.tobytes()
        return Layout(self.scheme, self.num_columns, self.offsets is not None, order)

    @property
    def num_rows(self) -> int:
        """Outputs."""
        return self.codes.shape[0]

    def dequantize(self, rows: slice = slice(None)) -> Floats:
        """Return the weights that it stands for, in the order of the inputs: float32 [rows, inputs]."""
        weights = dequantize_rows(
            self.codes[rows],
            self.scales[rows],
            self.scheme,
            num_columns=self.num_columns,
            zero_points=None if self.zero_points is None else self.zero_points[rows],
            offsets=None if self.offsets is None else self.offsets[rows],
        )
        return weights if self.input_order is None else weights[:, np.argsort(self.input_order)]


def quantize_matrix(
    read: Callable[[int, int], Floats], *, shape: tuple[int, int], scheme: BlockScheme
) -> QuantizedMatrix:
    """Return a matrix that is rounded while it is read, by half-quadratic quantization or else to nearest.

    Its rows are read and rounded once where the codes are read in order and the scales and zero points after them, as a
    writer does; these are held in between. In another order the values are the same and rows are read again.

    Args:
        read: Returns rows [start, stop) as float32 [stop - start, columns].
        shape: [rows, columns].
        scheme: How they are rounded.
    """
    rounding = _Rounding(read, shape[0], scheme)
    num_blocks = scheme.num_blocks(shape[1])
    points = None
    if not scheme.is_symmetric:
        points = _PartOf(rounding, "zero_points", (shape[0], scheme.zero_point_bytes(shape[1])))
    return QuantizedMatrix(
        scheme,
        shape[1],
        codes=_PartOf(rounding, "codes", (shape[0], num_blocks, scheme.block_bytes)),
        scales=_PartOf(rounding, "scales", (shape[0], num_blocks)),
        zero_points=points,
    )


class _Rounding:
    """Rows that are rounded on demand; what a pass over the codes finds beside them stays until it is read."""

    def __init__(self, read: Callable[[int, int], Floats], num_rows: int, scheme: BlockScheme) -> None:
        self._read, self._num_rows, self._scheme = read, num_rows, scheme
        self._held: dict[str, Any] = {}
        self._num_held = 0  # rows, from the first on

    def part(self, name: str, start: int, stop: int) -> Any:
        if name != "codes" and name in self._held and stop <= self._num_held:
            found = self._held[name][start:stop]
            if stop == self._num_rows:
                del self._held[name]
            return found
        round_rows = half_quadratic_rows if self._scheme.method == "hqq" else quantize_rows
        rounded = round_rows(self._read(start, stop), self._scheme)
        if name == "codes":
            self._hold(start, stop, rounded)
        return getattr(rounded, name)

    def _hold(self, start: int, stop: int, rounded: QuantizedRows) -> None:
        parts: dict[str, NDArray[Any]] = {"scales": rounded.scales}
        if rounded.zero_points is not None:
            parts["zero_points"] = rounded.zero_points
        if start == 0:
            self._held = {
                name: np.empty((self._num_rows, *part.shape[1:]), part.dtype) for name, part in parts.items()
            }
            self._num_held = 0
        if start == self._num_held and self._held.keys() == parts.keys():
            for name, part in parts.items():
                self._held[name][start:stop] = part
            self._num_held = stop


@dataclass(frozen=True, slots=True)
class _PartOf:
    """Codes, scales or zero points of rows that are rounded on demand."""

    rounding: _Rounding
    name: str
    shape: tuple[int, ...]

    def __getitem__(self, rows: slice) -> Any:
        start, stop, _ = rows.indices(self.shape[0])
        return self.rounding.part(self.name, start, stop)
