"""What the cache holds for a sequence: tensors that grow with every token, and states of a fixed size.

Owns the arithmetic of their bytes. Knows no graph: how many axes a model gives a tensor, and what it calls them, is
the runtime's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CacheShape", "CacheTensor"]


@dataclass(frozen=True, slots=True)
class CacheTensor:
    """One tensor that a model reads as its past and writes as its present, reduced to what a copy has to know.

    Args:
        outer: Blocks of one slot whose positions lie one behind the other: the heads of keys and values; 1 of a state.
        inner: Elements of one position of one block: a head's width; all elements of a state.
        dtype: Element type.
        per_position: Whether it has a row for each token. If not, it is a state: the model overwrites all of it with
            every token (the window of a convolution, the matrix of a linear attention).
        num_scratch: How often the runtime holds it besides the slots themselves; counted in the bytes.
    """

    outer: int
    inner: int
    dtype: npt.DTypeLike
    per_position: bool = True
    num_scratch: int = 0

    @property
    def unit_bytes(self) -> int:
        """Bytes of one position of one slot, or of one slot's state."""
        return self.outer * self.inner * np.dtype(self.dtype).itemsize

    def shape(self, num_slots: int, capacity: int) -> tuple[int, int, int, int]:
        """Return the shape of a buffer: [slots, outer, capacity, inner], a state's capacity being 1."""
        return (num_slots, self.outer, capacity if self.per_position else 1, self.inner)


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What a slot is made of, and how much there may be.

    Args:
        tensors: All tensors of all layers.
        max_capacity: Most positions that a slot may have: the context length.
        max_slots: Most slots.
        max_bytes: Most bytes of all buffers together; None is no limit.
    """

    tensors: tuple[CacheTensor, ...]
    max_capacity: int
    max_slots: int
    max_bytes: int | None = None

    @property
    def has_states(self) -> bool:
        """Whether a slot holds anything that cannot be cut back to fewer tokens."""
        return any(not tensor.per_position for tensor in self.tensors)

    @property
    def bytes_per_position(self) -> int:
        """Bytes of one position of one slot, in all tensors that have positions."""
        return sum(t.unit_bytes * (1 + t.num_scratch) for t in self.tensors if t.per_position)

    @property
    def bytes_per_slot(self) -> int:
        """Bytes of a slot however few tokens it holds: its states, each of which is there twice."""
        return 2 * self.snapshot_bytes

    @property
    def snapshot_bytes(self) -> int:
        """Bytes of all states of a slot, once."""
        return sum(t.unit_bytes for t in self.tensors if not t.per_position)

    def num_bytes(self, num_slots: int, capacity: int) -> int:
        """Return the bytes of so many slots of such a capacity."""
        return num_slots * (capacity * self.bytes_per_position + self.bytes_per_slot)

    @property
    def max_positions(self) -> int:
        """The most positions of all slots together, in whichever number of slots there is room for most."""
        return max(num_slots * self.capacity_for(num_slots) for num_slots in range(1, self.max_slots + 1))

    def fits(self, num_slots: int, capacity: int) -> bool:
        """Whether so many slots of such a capacity stay within all limits."""
        if num_slots > self.max_slots or capacity > self.max_capacity:
            return False
        return self.max_bytes is None or self.num_bytes(num_slots, capacity) <= self.max_bytes

    def capacity_for(self, num_slots: int) -> int:
        """Return the most positions that each of so many slots may have; 0 if not even their states fit."""
        if self.max_bytes is None:
            return self.max_capacity
        left = self.max_bytes - num_slots * self.bytes_per_slot
        if left < 0:
            return 0
        if self.bytes_per_position == 0:
            return self.max_capacity
        return min(self.max_capacity, left // (num_slots * self.bytes_per_position))
