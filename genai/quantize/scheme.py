"""How a matrix is cut into blocks and how many bits a weight gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genai.config import check_block_size
from genai.errors import OptionError

__all__ = ["BlockScheme"]


@dataclass(frozen=True, slots=True)
class BlockScheme:
    """Quantization in blocks along the input axis, one float scale per block.

    A weight is `(code - zero_point) * scale` with code in [0, 2**bits). A symmetric scheme has the zero point in the
    middle, which is what MatMulNBits, QMoE and GatherBlockQuantized assume when they are given none; in any other
    each block has its own.

    Args:
        bits: Bits per weight, 2, 4 or 8.
        block_size: Weights per scale, a power of two from 16 to 256.
        is_symmetric: Whether all blocks have the zero point in the middle.
        method: How the codes are chosen: "hqq" is half-quadratic quantization, and floats with any other are rounded to
            nearest. Of matrices that have codes already it says how they were chosen, for the manifest.
        scale_type: "float32", or "float16" for scales that are stored in half the bytes, and rounded so before any code
            is chosen; products read them as float32 either way.

    Raises:
        OptionError: A value is none of these.

    >>> scheme = BlockScheme(bits=4, block_size=32)
    >>> scheme.zero_point, scheme.num_blocks(70), scheme.block_bytes
    (8, 3, 16)
    """

    bits: int
    block_size: int
    is_symmetric: bool = True
    method: str = "rtn"
    scale_type: str = "float32"

    def __post_init__(self) -> None:
        assert self.scale_type in ("float32", "float16"), self.scale_type
        if self.bits not in (2, 4, 8):
            raise OptionError(f"bits must be 2, 4 or 8, not {self.bits!r}")
        check_block_size(self.block_size)

    @property
    def zero_point(self) -> int:
        """The code that stands for 0 in a symmetric scheme."""
        return 1 << (self.bits - 1)

    @property
    def max_code(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    @property
    def block_bytes(self) -> int:
        """Bytes that the codes of one block take."""
        return self.block_size * self.bits // 8

    def num_blocks(self, num_columns: int) -> int:
        """Number of blocks in a row; the last one may be padded."""
        return -(-num_columns // self.block_size)

    def zero_point_bytes(self, num_columns: int) -> int:
        """Bytes that the packed zero points of a row take."""
        return -(-self.num_blocks(num_columns) * self.bits // 8)

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest says of this scheme."""
        return {
            "method": self.method,
            "bits": self.bits,
            "block_size": self.block_size,
            "symmetric": self.is_symmetric,
            "scales": self.scale_type,
        }
