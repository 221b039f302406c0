"""How positions have turned what a cache holds (rotary embeddings), and what that would be at other positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Rotation"]


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """The turns of one tensor's vectors by position (Su et al., 2021), as the model's tables have them.

    Args:
        cos: Cosines, with the factor that some models give them: float32 [positions, dim / 2].
        sin: Sines, likewise.
        interleaved: Whether each of the `dim` elements turns with its neighbour, not with the one half of `dim` further on.
        first: The first of them within a vector.
    """

    cos: npt.NDArray[np.float32]
    sin: npt.NDArray[np.float32]
    interleaved: bool = False
    first: int = 0

    def move(self, vectors: npt.NDArray[Any], *, position: int, to: int) -> None:
        """Turn vectors, in place and in float32, from the positions that they stand at to those that they go to.

        Args:
            vectors: [..., positions, width].
            position: Where the first of them stands.
            to: Where it goes.
        """
        count, dim = vectors.shape[-2], 2 * self.cos.shape[1]
        old, new = slice(position, position + count), slice(to, to + count)
        size = self.cos[old] ** 2 + self.sin[old] ** 2
        cos = (self.cos[new] * self.cos[old] + self.sin[new] * self.sin[old]) / size
        sin = (self.sin[new] * self.cos[old] - self.cos[new] * self.sin[old]) / size
        turned = vectors[..., self.first : self.first + dim]
        one, other = slice(0, dim // 2), slice(dim // 2, dim)
        if self.interleaved:
            one, other = slice(0, dim, 2), slice(1, dim, 2)
        x, y = turned[..., one].astype(np.float32), turned[..., other].astype(np.float32)
        turned[..., one] = x * cos - y * sin
        turned[..., other] = y * cos + x * sin
