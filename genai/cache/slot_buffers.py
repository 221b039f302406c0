"""The buffers of all slots: their memory, and what is copied between their rows.

Owns addresses and layout. Which slot is whose, and what of it is worth keeping, others decide.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from genai.cache.memory import Buffer, Device
from genai.cache.rotation import Rotation
from genai.cache.shape import CacheShape
from genai.cache.slot import Slot

__all__ = ["SlotBuffers"]


class SlotBuffers:
    """One buffer per tensor of a `CacheShape`, two of each state, with a row for every slot.

    `sides[side][i]` is the buffer of tensor i; both sides have the same one, unless it is a state's. Buffers may be
    larger than slots and capacity say. `epoch` changes whenever an address does.
    """

    def __init__(self, shape: CacheShape, device: Device) -> None:
        self.shape = shape
        self.slots: list[Slot] = []
        self.capacity = 0
        self.epoch = 0
        self.sides: tuple[list[Buffer], list[Buffer]] = ([], [])
        self.has_states = shape.has_states
        self._states = [i for i, tensor in enumerate(shape.tensors) if not tensor.per_position]
        self._device = device
        self.can_discard = device.can_discard

    def reset(self) -> None:
        """Give up all slots and buffers, owned ones too, whatever state an interruption left them in."""
        self.slots, self.sides, self.capacity = [], ([], []), 0
        self.epoch += 1

    def resize(self, num_slots: int, capacity: int) -> None:
        """Move everything into new buffers, tensor by tensor; slots beyond `num_slots` are given up.

        Raises:
            OutOfMemoryError: The device has no memory for the next one. Some buffers have the new size then, some the
                old one; slots and capacity are what both hold.
        """
        self.slots = kept = self.slots[:num_slots]
        self.capacity = min(self.capacity, capacity)
        self.epoch += 1
        for i, tensor in enumerate(self.shape.tensors):
            shape = tensor.shape(num_slots, capacity)
            new = [self._device.allocate(shape, tensor.dtype) for _ in range(1 if tensor.per_position else 2)]
            for side, buffers in enumerate(self.sides):
                target = new[side % len(new)]
                if i == len(buffers):
                    buffers.append(target)
                    continue
                for slot in kept:
                    if slot.side == side:
                        count = len(slot.token_ids) if tensor.per_position else min(len(slot.token_ids), 1)
                        self._device.copy_positions(self._row(slot, i), target.rows(slot.index, 1), count)
                buffers[i] = target
        self.slots = [*kept, *(Slot(index) for index in range(len(kept), num_slots))]
        self.capacity = capacity

    def move(self, slot: Slot, to: Slot, *, start: int = 0) -> None:
        """Let a slot change places with a free one, which is emptied; positions before `start` have been copied."""
        assert not to.in_use
        self.copy_rows(slot, to, start, len(slot.token_ids))
        if slot.token_ids and self.has_states:
            self.copy_states(slot, to)
        to.token_ids, to.snapshots = [], []
        self.slots[slot.index], self.slots[to.index] = to, slot
        slot.index, to.index = to.index, slot.index
        slot.side, to.side = to.side, slot.side
        slot.revision += 1
        to.revision += 1
        self.discard(to, 0)

    def copy_rows(self, source: Slot, target: Slot, start: int, stop: int) -> None:
        """Copy keys and values of positions `start` to `stop`."""
        for i, tensor in enumerate(self.shape.tensors):
            if tensor.per_position and stop > start:
                self._device.copy_positions(
                    self._row(source, i),
                    self._row(target, i),
                    stop - start,
                    source_start=start,
                    target_start=start,
                )

    def move_positions(
        self, slot: Slot, start: int, count: int, to: int, rotations: Sequence[Rotation | None]
    ) -> None:
        """Move keys and values within a row, turned as the positions that they go to turn them.

        Raises:
            OutOfMemoryError: The device has no memory for a copy; some tensors have moved then.
        """
        for i, (tensor, rotation) in enumerate(zip(self.shape.tensors, rotations, strict=True)):
            shape, row = tensor.shape(1, count), self._row(slot, i)
            staged = self._device.allocate(shape, tensor.dtype)
            self._device.copy_positions(row, staged, count, source_start=start)
            if rotation is not None:
                array = np.empty(shape, tensor.dtype)
                self._device.copy_out(staged, array)
                rotation.move(array, position=start, to=to)
                self._device.copy_in(array, staged)
            self._device.copy_positions(staged, row, count, target_start=to)

    def discard(self, slot: Slot, start: int) -> None:
        """Give back the memory of a slot's keys and values from position `start` on, where the device can."""
        if not self.can_discard:
            return
        for i, tensor in enumerate(self.shape.tensors):
            if tensor.per_position and start < self.capacity:
                self._device.discard(self._row(slot, i), start)

    def copy_states(self, source: Slot, target: Slot) -> None:
        """Copy states, each to the side that the target's row is on."""
        for i, row in self.state_rows(target, target.side):
            self._device.copy_positions(self._row(source, i), row, 1)

    def read(self, slot: Slot) -> list[npt.NDArray[Any]]:
        """Return copies of what a slot holds, on the host: [1, outer, positions, inner] for each tensor."""
        found = []
        for i, tensor in enumerate(self.shape.tensors):
            shape = tensor.shape(1, len(slot.token_ids))
            staged, array = self._device.allocate(shape, tensor.dtype), np.empty(shape, tensor.dtype)
            self._device.copy_positions(self._row(slot, i), staged, shape[2])
            self._device.copy_out(staged, array)
            found.append(array)
        return found

    def write(self, slot: Slot, tensors: Sequence[npt.NDArray[Any]]) -> None:
        """Let a slot hold what `read` returned; there must be room for it."""
        for i, array in enumerate(tensors):
            staged = self._device.allocate(array.shape, array.dtype)
            self._device.copy_in(array, staged)
            self._device.copy_positions(staged, self._row(slot, i), array.shape[2])

    def align(self, slots: Sequence[Slot], *, idle: Collection[Slot] = ()) -> int:
        """Make slots ready to run together, and return the side that the run reads; it writes the other.

        The states of slots without tokens become zero, unless they are idle. Does nothing where there are no states.
        """
        if not self.has_states:
            return 0
        side = int(2 * sum(slot.side for slot in slots) > len(slots))  # where most of them are
        for slot in slots:
            is_ready = slot.side == side if slot.token_ids else slot in idle
            if is_ready:
                continue
            for i, target in self.state_rows(slot, side):
                if slot.token_ids:
                    self._device.copy_positions(self._row(slot, i), target, 1)
                else:
                    self._device.copy_in(np.zeros(target.shape, target.dtype), target)
            slot.side = side
        return side

    def flip(self, slots: Collection[Slot]) -> None:
        """Note that a run has written these slots' states to the side that `align` did not return."""
        if self.has_states:
            for slot in slots:
                slot.side ^= 1

    def state_rows(self, slot: Slot, side: int) -> list[tuple[int, Buffer]]:
        """Return a slot's row of every state on a side, with the state's place among the tensors."""
        return [(i, self.sides[side][i].rows(slot.index, 1)) for i in self._states]

    def _row(self, slot: Slot, tensor: int) -> Buffer:
        return self.sides[slot.side][tensor].rows(slot.index, 1)
