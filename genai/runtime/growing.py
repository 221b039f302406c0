"""Caches that grow by concatenation: a run reads all positions from one arena and writes one more into another.

The home of every sequence's keys and values stays its slot. Here are the two arenas, in the tight shape that such a
graph wants: [rows, heads, positions, width], shorter rows padded on the left. What a run gives back is, as it lies,
the past of the next run over the same rows; so that nothing is copied then but the new positions, to their slots.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genai.cache import Buffer, Device, KVCache, Slot
from genai.runtime.binding import Binding
from genai.runtime.graph_interface import CachePort

__all__ = ["GrowingCache"]


class GrowingCache:
    """Stages the past of some slots for a run, and carries home what the run has added.

    Args:
        ports: The growing ones among the graph's cache tensors, each with its place among the cache's.
        cache: The slots.
        device: Where they live.
    """

    def __init__(self, ports: Sequence[tuple[int, CachePort]], cache: KVCache, device: Device) -> None:
        self._ports = list(ports)
        self._cache = cache
        self._device = device
        self._arenas: tuple[list[Buffer], list[Buffer]] = ([], [])
        self._room = 0
        self._side = 0
        self._positions = 0
        self._rows: list[tuple[Slot, int, int]] = []  # slot, its revision, its tokens

    def stage(self, slots: Sequence[Slot], num_new: int) -> int:
        """Make the arena hold the slots' past, with room for new positions behind; return its number of positions."""
        positions = max(len(slot.token_ids) for slot in slots)
        self._make_room(len(slots), positions + num_new)
        wanted = [(slot, slot.revision, len(slot.token_ids)) for slot in slots]
        held = self._rows if positions == self._positions and len(slots) == len(self._rows) else None
        self._rows, self._positions = [], positions  # nothing, if the copies are interrupted
        for row, slot in enumerate(slots):
            if held is None or held[row] != wanted[row]:
                self._gather(slot, row, num_rows=len(slots))
        self._rows = wanted
        return positions

    def bind(self, binding: Binding, *, rows: int, num_new: int) -> None:
        """Bind one arena as the past and the other as the present."""
        pasts, presents = self._arenas[self._side], self._arenas[1 - self._side]
        for i, (_, port) in enumerate(self._ports):
            past_shape = port.shape(rows, self._positions)
            present_shape = port.shape(rows, self._positions + num_new)
            binding.input(port.past, pasts[i].shaped(past_shape), self._device)
            binding.output(port.present, presents[i].shaped(present_shape), self._device)

    def collect(self, slots: Sequence[Slot], counts: Sequence[int], num_new: int) -> None:
        """Copy each slot's new positions home; the slots' `token_ids` are still those from before the run.

        Args:
            slots: As they were staged.
            counts: How many new positions each has; the others up to `num_new` are padding.
            num_new: New positions of every row.
        """
        total = self._positions + num_new
        homes = self._cache.sides[0]
        for i, (place, port) in enumerate(self._ports):
            view = _rows_view(self._arenas[1 - self._side][i], port, len(slots), total)
            for row, (slot, count) in enumerate(zip(slots, counts, strict=True)):
                self._device.copy_positions(
                    view.rows(row, 1),
                    homes[place].rows(slot.index, 1),
                    count,
                    source_start=self._positions,
                    target_start=len(slot.token_ids),
                )
        if all(count == num_new for count in counts):
            self._side = 1 - self._side
            self._positions = total
            self._rows = [(slot, revision, length + num_new) for slot, revision, length in self._rows]
        else:
            self._rows = []

    def _gather(self, slot: Slot, row: int, *, num_rows: int) -> None:
        """Copy a slot's past to the end of its row."""
        length = len(slot.token_ids)
        for i, (place, port) in enumerate(self._ports):
            if not length:
                return  # and an arena of no positions has no rows to view
            view = _rows_view(self._arenas[self._side][i], port, num_rows, self._positions)
            self._device.copy_positions(
                self._cache.sides[0][place].rows(slot.index, 1),
                view.rows(row, 1),
                length,
                target_start=self._positions - length,
            )

    def _make_room(self, num_rows: int, positions: int) -> None:
        """See that the arenas hold so many rows of such a length, and of the slots' capacity if that is more.

        What is masked is multiplied by zero all the same, so that no memory may hold NaN.
        """
        room = num_rows * max(positions, self._cache.capacity)
        if room <= self._room:
            return
        self._arenas = ([], [])
        for _, port in self._ports:
            shape = (port.tensor.outer * room * port.tensor.inner,)
            for arena in self._arenas:
                arena.append(self._device.allocate(shape, port.tensor.dtype))
                self._device.copy_in(np.zeros(shape, port.tensor.dtype), arena[-1])
        self._room = room
        self._rows = []


def _rows_view(buffer: Buffer, port: CachePort, rows: int, positions: int) -> Buffer:
    """Return the arena's beginning as [rows, outer, positions, inner]."""
    return buffer.shaped(port.tensor.shape(rows, positions))
