"""Where rows lie: those that run together should be neighbours, and moving one costs as much as it holds.

A run takes neighbouring slots. Where a sequence ends between others, its slot stays as a hole: it runs along, idle,
until a new request takes it. Only when it has run along for so long that computing its tokens again would have cost
less, it is given up, and the row at one end moves in: a part of it per step, so that no step waits for the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from genai.cache.slot import Slot
from genai.cache.slot_buffers import SlotBuffers
from genai.cache.snapshots import SnapshotStore

__all__ = ["RowPlacement"]

MOVED_SHARE = 1 / 64
"""Positions that are moved per step, as a share of those that the step's rows hold and attend to."""
MIN_MOVED = 32
IDLE_ROW_COST = 2
"""What an idle row of a step costs, in tokens of a prompt: those run many at a time."""


@dataclass(slots=True)
class _Move:
    """A row on its way: the target holds a beginning of it already."""

    source: Slot
    target: Slot
    revision: int

    @property
    def is_valid(self) -> bool:
        """Whether nobody has taken the target since, and what it holds is still a beginning of the row."""
        source, target = self.source, self.target
        if target.in_use or target.key != source.key:
            return False
        if source.key.has_dropped and source.revision != self.revision:
            return False  # equal tokens may have moved to other positions
        return source.token_ids[: len(target.token_ids)] == target.token_ids


class RowPlacement:
    """Chooses slots for new rows, and closes the holes between old ones."""

    def __init__(self, buffers: SlotBuffers, snapshots: SnapshotStore) -> None:
        self._buffers = buffers
        self._snapshots = snapshots
        self._move: _Move | None = None
        self._idle_rows = 0  # that have run along since the last move

    def choose(self, donor: Slot, keep: int) -> Slot:
        """Return the free slot to take for a row that shares its first `keep` tokens with a donor.

        Its own tokens are of no more use to anybody, unless it is the donor itself.
        """
        slots = self._buffers.slots
        free = [slot for slot in slots if not slot.in_use]
        oldest = min(free, key=_by_use)
        if len(free) == len(slots):
            would_lose_much = not oldest.token_ids and keep < len(donor.token_ids) // 2
            return oldest if keep == 0 or would_lose_much else donor
        first = next(slot.index for slot in slots if slot.in_use)
        last = next(slot.index for slot in reversed(slots) if slot.in_use)
        place = min(free, key=lambda slot: (max(first - slot.index, slot.index - last, 0), _by_use(slot)))
        if place is donor and keep:
            return place
        spare = min((slot for slot in free if slot is not donor or not keep), key=_by_use, default=place)
        if place.token_ids and spare is not place:
            self._buffers.move(place, spare)  # what it holds goes where what was used longest ago is
            return spare
        return place

    def line_up(self, slots: list[Slot], *, in_blocks: bool = False) -> list[Slot]:
        """Return neighbouring slots that are these and perhaps idle ones in between, or of a whole block."""
        if len(slots) == 1:
            return slots
        row = self._between(slots)
        if len(row) > len(slots):
            self._close_holes(frozenset(slots), row)
            row = self._between(slots)
        if in_blocks:
            row = self._block_of(row)
        if len(row) > len(slots):
            running = frozenset(slots)
            for slot in row:
                length = len(slot.token_ids)
                if length == self._buffers.capacity and slot not in running:
                    # An idle row still writes one position behind its tokens.
                    self._snapshots.truncate(slot, 0 if self._buffers.has_states else length - 1)
        return row

    def _between(self, slots: list[Slot]) -> list[Slot]:
        indices = [slot.index for slot in slots]
        return self._buffers.slots[min(indices) : max(indices) + 1]

    def _block_of(self, row: list[Slot]) -> list[Slot]:
        """Return a row with slots added until they are as many as a power of two, or all that there are."""
        slots = self._buffers.slots
        size = min(1 << (len(row) - 1).bit_length(), len(slots))
        start = min(row[0].index, len(slots) - size)
        return slots[start : start + size]

    def pack(self, num_slots: int) -> None:
        """Move all owned slots to the first `num_slots` places, whatever lies there."""
        slots, self._move = self._buffers.slots, None
        for slot in [slot for slot in slots[num_slots:] if slot.in_use]:
            self._buffers.move(slot, min((s for s in slots[:num_slots] if not s.in_use), key=_by_use))

    def _close_holes(self, running: Collection[Slot], between: Sequence[Slot]) -> None:
        """Take the next part of a move, or begin one if it pays by now."""
        self._idle_rows += len(between) - len(running)
        move = self._move
        if move is None or not move.is_valid or move.source not in running or move.target not in between:
            move = self._move = self._begin(running, between)
        if move is None:
            return
        source, target = move.source, move.target
        held = sum(len(slot.token_ids) for slot in running)
        stop = len(source.token_ids)
        if not self._buffers.has_states:  # elsewhere no part of it could run along
            stop = min(len(target.token_ids) + max(MIN_MOVED, int(held * MOVED_SHARE)), stop)
        if stop == len(source.token_ids):
            self._buffers.move(source, target, start=len(target.token_ids))
            self._move = None
        else:
            start = len(target.token_ids)
            self._buffers.copy_rows(source, target, start, stop)
            target.token_ids += source.token_ids[start:stop]

    def _begin(self, running: Collection[Slot], between: Sequence[Slot]) -> _Move | None:
        """Return the move that closes a hole at the least cost; None if it does not pay yet, or there is none."""
        holes = [slot for slot in between if not slot.in_use]
        if not holes:
            return None
        ends = (between[-1], holes[0]), (between[0], holes[-1])
        source, target = min(ends, key=lambda ends: len(ends[0].token_ids) + len(ends[1].token_ids))
        assert source in running
        if self._idle_rows * IDLE_ROW_COST < len(target.token_ids):
            return None
        self._idle_rows = 0
        self._snapshots.truncate(target, 0)
        target.key = source.key
        return _Move(source, target, source.revision)


def _by_use(slot: Slot) -> tuple[bool, int]:
    """Order slots by what is lost with them: empty ones first, then those used longest ago."""
    return bool(slot.token_ids), slot.last_used
