"""Matrices of small floats with a scale per block of rows and columns, decoded where they are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.errors import CheckpointError
from genai.export.checkpoint.quantized.views import slices_of
from genai.export.checkpoint.rows import Rows

__all__ = ["ScaledRows"]


@dataclass(frozen=True, slots=True)
class ScaledRows:
    """A matrix [rows, columns] of numbers that are multiplied by their block's scale; slices of it are float32.

    Args:
        numbers: Floats of any type [rows, columns].
        scales: Floats [blocks of rows, blocks of columns].
        block: Rows and columns of a block; the last ones may be smaller.
    """

    numbers: Rows
    scales: Rows
    block: tuple[int, int]

    def __post_init__(self) -> None:
        expected = tuple(
            -(-size // width) for size, width in zip(self.numbers.shape, self.block, strict=True)
        )
        if self.scales.shape != expected:
            raise CheckpointError(
                f"scales of shape {list(self.scales.shape)} do not fit a matrix of shape {list(self.numbers.shape)} in "
                f"blocks of {self.block[0]} x {self.block[1]}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.numbers.shape

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[np.float32]:
        rows, columns = slices_of(key)
        row_blocks = np.arange(self.shape[0])[rows] // self.block[0]
        column_blocks = np.arange(self.shape[1])[columns] // self.block[1]
        values: NDArray[np.float32] = np.asarray(self.numbers[rows, columns]).astype(np.float32)
        if not values.size:
            return values
        first, last = int(row_blocks.min()), int(row_blocks.max()) + 1
        scales: NDArray[Any] = np.asarray(self.scales[first:last, :]).astype(np.float32)
        with np.errstate(over="ignore"):  # infinity; whoever writes it refuses it
            values *= scales[row_blocks - first][:, column_blocks]
        return values
