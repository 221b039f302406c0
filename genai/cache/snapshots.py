"""Snapshots of states that cannot be cut back: a few per slot, within the byte limit.

A snapshot is never changed, so that slots with the same beginning share it.
"""

from __future__ import annotations

from genai.cache.memory import Device
from genai.cache.slot import Slot, Snapshot
from genai.cache.slot_buffers import SlotBuffers
from genai.errors import OutOfMemoryError

__all__ = ["SnapshotStore"]

MAX_SNAPSHOTS = 4
"""Snapshots of one slot; of more, those that stand closest together are thinned out."""


class SnapshotStore:
    """Takes, keeps and restores the snapshots of a cache's slots."""

    def __init__(self, buffers: SlotBuffers, device: Device) -> None:
        self._buffers = buffers
        self._device = device
        self._bytes_each = buffers.shape.snapshot_bytes

    @property
    def nbytes(self) -> int:
        """Bytes of all snapshots, those that slots share counted once."""
        return len({id(each) for slot in self._buffers.slots for each in slot.snapshots}) * self._bytes_each

    def take(self, slot: Slot) -> None:
        """Add a snapshot of a slot's states as they are now; silently none where there is no room for it."""
        position = len(slot.token_ids)
        if any(each.position == position for each in slot.snapshots):
            return
        shape = self._buffers.shape
        used = shape.num_bytes(len(self._buffers.slots), self._buffers.capacity) + self.nbytes
        if shape.max_bytes is not None and used + self._bytes_each > shape.max_bytes:
            return
        states = []
        try:
            for _, row in self._buffers.state_rows(slot, slot.side):
                states.append(self._device.allocate(row.shape, row.dtype))
                self._device.copy_positions(row, states[-1], 1)
        except OutOfMemoryError:
            return  # a snapshot only saves time
        if len(slot.snapshots) == MAX_SNAPSHOTS:
            del slot.snapshots[
                _most_crowded([each.position for each in slot.snapshots], position, slot.branch_point)
            ]
        slot.snapshots.append(Snapshot(position, tuple(states)))

    def truncate(self, slot: Slot, length: int) -> None:
        """Forget a slot's tokens from position `length` on; where there are states, back to a snapshot or to 0."""
        assert length <= len(slot.token_ids)
        if length == len(slot.token_ids):
            return
        if self._buffers.has_states:
            if length:
                self.write(slot, length, slot)
            slot.snapshots = [each for each in slot.snapshots if each.position <= length]
        del slot.token_ids[length:]
        slot.revision += 1

    def write(self, source: Slot, position: int, target: Slot) -> None:
        """Write one slot's snapshot of a position into another slot's states."""
        snapshot = next((each for each in source.snapshots if each.position == position), None)
        assert snapshot is not None, f"no snapshot of position {position}"
        rows = self._buffers.state_rows(target, target.side)
        for state, (_, row) in zip(snapshot.states, rows, strict=True):
            self._device.copy_positions(state, row, 1)

    def make_room(self, other_bytes: int) -> None:
        """Give up snapshots, those of the slots that were used longest ago first, until all fits beside `other_bytes`."""
        limit = self._buffers.shape.max_bytes
        if limit is None or not self._bytes_each:
            return
        for slot in sorted(self._buffers.slots, key=lambda slot: (slot.in_use, slot.last_used)):
            while slot.snapshots and other_bytes + self.nbytes > limit:
                del slot.snapshots[0]


def _most_crowded(positions: list[int], newest: int, kept: int) -> int:
    """Return which of ascending positions, with `newest` behind them, is missed least: its neighbours are closest.

    >>> _most_crowded([50, 100, 110, 500], 900, kept=0)
    1
    >>> _most_crowded([50, 100, 110, 500], 900, kept=100)  # where others will probably go on
    0
    """
    around = [0, *positions, newest]
    places = (i for i, position in enumerate(positions) if position != kept)
    return min(places, key=lambda i: around[i + 2] - around[i])
