"""How a matrix is cut into blocks and how many bits a weight gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genai.errors import OptionError

__all__ = ["BlockScheme"]

MIN_BLOCK_SIZE, MAX_BLOCK_SIZE = 16, 256


@dataclass(frozen=True, slots=True)
class BlockScheme:
    """Symmetric quantization in blocks along the input axis, one float scale per block.

    A weight is `(code - zero_point) * scale` with code in [0, 2**bits) and the zero point in the middle, which is
    what MatMulNBits and GatherBlockQuantized assume when they are given no zero points.

    Args:
        bits: Bits per weight, 4 or 8.
        block_size: Weights per scale, a power of two from 16 to 256.

    Raises:
        OptionError: A value is none of these.

    >>> scheme = BlockScheme(bits=4, block_size=32)
    >>> scheme.zero_point, scheme.num_blocks(70), scheme.block_bytes
    (8, 3, 16)
    """

    bits: int
    block_size: int

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise OptionError(f"bits must be 4 or 8, not {self.bits!r}")
        size = self.block_size
        is_power_of_two = isinstance(size, int) and size > 0 and size & (size - 1) == 0
        if not is_power_of_two or not MIN_BLOCK_SIZE <= size <= MAX_BLOCK_SIZE:
            raise OptionError(
                f"block_size must be a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE} "
                f"(usually 32, 64 or 128), not {size!r}"
            )

    @property
    def zero_point(self) -> int:
        """The code that stands for 0."""
        return 1 << (self.bits - 1)

    @property
    def block_bytes(self) -> int:
        """Bytes that the codes of one block take."""
        return self.block_size * self.bits // 8

    def num_blocks(self, num_columns: int) -> int:
        """Number of blocks in a row; the last one may be padded."""
        return -(-num_columns // self.block_size)

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest says of this scheme."""
        return {"method": "rtn", "bits": self.bits, "block_size": self.block_size, "symmetric": True}
