"""Matrices in 8-bit floats with a scale per block of rows and columns, decoded some rows at a time.

DeepSeek-V3 is published so (https://arxiv.org/abs/2412.19437, section 3.3), and others in its manner: a tensor of
float8_e4m3fn and beside it `{name}_scale_inv`, by which its blocks are multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from genai.errors import CheckpointError, UnsupportedModelError

__all__ = ["DEFAULT_BLOCK", "Fp8Rows", "block_of"]

DEFAULT_BLOCK = (128, 128)


@dataclass(frozen=True, slots=True)
class Fp8Rows:
    """A matrix [rows, columns] of 8-bit floats; slices of it are float32.

    Args:
        codes: uint8 [rows, columns], float8_e4m3fn.
        scales: float [blocks of rows, blocks of columns].
        block: Rows and columns of a block; the last ones may be smaller.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[Any]
    block: tuple[int, int]

    def __post_init__(self) -> None:
        expected = tuple(-(-size // width) for size, width in zip(self.codes.shape, self.block, strict=True))
        if self.scales.shape != expected:
            raise CheckpointError(
                f"scales of shape {list(self.scales.shape)} do not fit a matrix of shape {list(self.codes.shape)} in "
                f"blocks of {self.block[0]} x {self.block[1]}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.codes.shape

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[np.float32]:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        columns = rest[0] if rest else slice(None)
        row_blocks = np.arange(self.shape[0])[rows] // self.block[0]
        column_blocks = np.arange(self.shape[1])[columns] // self.block[1]
        codes = self.codes[rows, columns].view(ml_dtypes.float8_e4m3fn)
        values: NDArray[np.float32] = codes.astype(np.float32)
        values *= self.scales[row_blocks][:, column_blocks].astype(np.float32)
        return values


def block_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return the rows and columns of a block, as a config.json tells them.

    Raises:
        UnsupportedModelError: Whole tensors have one scale.
        CheckpointError: It tells something else.
    """
    size = (config.get("quantization_config") or {}).get("weight_block_size", list(DEFAULT_BLOCK))
    if size is None:
        raise UnsupportedModelError(
            'config.json: "weight_block_size" is null: its 8-bit floats have one scale for a whole tensor, and genai '
            "reads those with a scale per block; export the checkpoint that they were quantized from"
        )
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise CheckpointError(f'config.json: "weight_block_size" must be two whole numbers, not {size!r}')
    return size[0], size[1]
