"""KV cache: who owns which slot of the preallocated buffers, and what tokens its rows hold.

Per tensor of the model there is one buffer, [slots, outer, capacity, inner], on the model's device. A sequence owns
a slot while it runs; a slot that was given back keeps its tokens until somebody else needs it, so that a later prompt
with the same beginning computes only the rest. Slots and capacity grow by doubling.

A model may also have states (`CacheTensor.per_position` is False): of these only what follows the slot's last token
exists, so they cannot be cut back. Snapshots keep copies of them at a few earlier positions, from which a prefix can
be reused. A state is read and written in one run by operators that need not finish reading before they write; so each
has two buffers, the two sides, and a run reads one side and writes the other.

Knows nothing of sessions or requests; whoever binds the buffers must look at `epoch`, which changes whenever their
addresses do, and take the number of positions from each buffer: it is at least `capacity`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from genai.cache.memory import Buffer, Device
from genai.cache.placement import RowPlacement
from genai.cache.shape import CacheShape
from genai.cache.slot import PrefixKey, Slot, common_length
from genai.cache.snapshots import SnapshotStore

__all__ = ["KVCache"]

MIN_CAPACITY = 256
MIN_BRANCH = 16
"""A shorter beginning that two prompts share is not worth a run of its own, for a snapshot at its end."""
MIN_ROOM = 16
"""Positions that every sequence must have left where capacity is given up for another slot."""


class KVCache:
    """Slots over buffers that grow by doubling, up to the limits of a `CacheShape`.

    `sides[side][i]` is the buffer of tensor i of the shape; both sides have the same one, unless it is a state's.
    """

    def __init__(self, shape: CacheShape, device: Device) -> None:
        self.shape = shape
        self.slots: list[Slot] = []
        self.capacity = 0
        self.epoch = 0
        self.can_truncate = not shape.has_states
        self.sides: tuple[list[Buffer], list[Buffer]] = ([], [])
        self._states = [i for i, tensor in enumerate(shape.tensors) if not tensor.per_position]
        self._device = device
        self._snapshots = SnapshotStore(self, device)
        self._placement = RowPlacement(self)
        self._clock = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers and snapshots, and of what the runtime holds beside them."""
        return self.shape.num_bytes(len(self.slots), self.capacity) + self._snapshots.nbytes

    @property
    def num_in_use(self) -> int:
        """Slots that are owned now."""
        return sum(slot.in_use for slot in self.slots)

    def acquire(self, token_ids: Sequence[int], *, key: PrefixKey = PrefixKey()) -> Slot | None:  # noqa: B008
        """Take a free slot that holds the longest beginning of a prompt; None if there is no room for another.

        The slot's `token_ids` are cut to what it shares with the prompt, and to one token less than the whole
        prompt: the last prompt token has to run, for its logits. Where states cannot be cut back that far, to an
        earlier snapshot or to nothing. Beside slots that are in use, one is taken that lies next to them.

        Raises:
            GenerationError: The device has no memory for another slot; nothing has changed.
        """
        if all(slot.in_use for slot in self.slots) and not self._add_slots():
            return None
        token_ids = list(token_ids)
        donor = max(self.slots, key=lambda slot: self._reusable(slot, token_ids, key))
        keep = self._reusable(donor, token_ids, key)
        branch_point = self._branch_point(token_ids, key)
        slot = self._placement.choose(donor, keep)
        if slot is donor:
            self.truncate(slot, keep)
        else:
            self.truncate(slot, 0)
            self._copy_prefix(donor, slot, keep)
        slot.key, slot.in_use, slot.branch_point = key, True, branch_point
        return slot

    def adopt_prefix(self, slot: Slot, token_ids: list[int]) -> None:
        """Let an owned slot go on from a longer beginning of a prompt, if another slot holds one by now."""
        donor = max(self.slots, key=lambda each: self._reusable(each, token_ids, slot.key))
        keep = self._reusable(donor, token_ids, slot.key)
        slot.branch_point = max(slot.branch_point, self._branch_point(token_ids, slot.key))
        if donor is not slot and keep > len(slot.token_ids):
            self._copy_prefix(donor, slot, keep)

    def release(self, slot: Slot) -> None:
        """Give a slot back; its tokens stay for a later prompt until it is taken again."""
        assert slot.in_use
        self._clock += 1
        slot.in_use, slot.last_used = False, self._clock

    def reserve(self, num_positions: int) -> bool:
        """Make every slot hold at least so many positions; False if the limits do not allow it.

        Where the byte limit is in the way, slots that nobody owns are given up, tokens and all.

        Raises:
            GenerationError: The device has no memory for it; the slots are as they were.
        """
        if num_positions <= self.capacity:
            return True
        if num_positions > self.shape.max_capacity:
            return False
        doubled = max(2 * self.capacity, MIN_CAPACITY)
        while doubled < num_positions:
            doubled *= 2
        for num_slots in (len(self.slots), max(self.num_in_use, 1)):
            # Near the byte limit all that is left is taken at once: growing by one would move everything every step.
            capacity = min(doubled, self.shape.capacity_for(num_slots))
            if capacity >= num_positions:
                self._resize(num_slots, capacity)
                return True
        return False

    def restart(self, num_slots: int) -> None:
        """Give up everything for so many empty slots, which nobody may own yet.

        Capacity never shrinks, so that under a byte limit the buffers of one long sequence leave no room for
        several short ones.
        """
        assert self.num_in_use == 0
        self.reset()
        self._resize(num_slots, min(MIN_CAPACITY, self.shape.capacity_for(num_slots)))

    def reset(self) -> None:
        """Give up all slots and buffers, owned ones too, whatever state an interruption left them in."""
        self.slots, self.sides, self.capacity = [], ([], []), 0
        self.epoch += 1

    def truncate(self, slot: Slot, length: int) -> None:
        """Forget a slot's tokens from position `length` on; where there are states, back to a snapshot or to 0."""
        assert length <= len(slot.token_ids)
        if length < len(slot.token_ids) and not self.can_truncate:
            assert length in (0, *(snapshot.position for snapshot in slot.snapshots))
            self._snapshots.restore(slot, length)
        del slot.token_ids[length:]
        slot.revision += 1

    def copy(self, source: Slot, target: Slot) -> None:
        """Make `target` hold what `source` holds; what both hold already is not copied."""
        assert source is not target
        shared = common_length(source.token_ids, target.token_ids) if source.key == target.key else 0
        del target.token_ids[shared:]
        target.key = source.key
        self._copy_prefix(source, target, len(source.token_ids))

    def line_up(self, slots: list[Slot]) -> list[Slot]:
        """Return neighbouring slots, in order, that are these and perhaps idle ones in between.

        An idle slot may run along: its content stays, but for what lies behind its tokens. Rows are moved where that
        pays, a part at each call (see `genai.cache.placement`).
        """
        return self._placement.line_up(slots)

    def move(self, slot: Slot, to: Slot, *, start: int = 0) -> None:
        """Let a slot change places with a free one, which is emptied; positions before `start` have been copied."""
        assert not to.in_use
        self._copy_rows(slot, to, start, len(slot.token_ids))
        if slot.token_ids and not self.can_truncate:
            self._copy_states(slot, to)
        to.token_ids, to.snapshots = [], []
        self.slots[slot.index], self.slots[to.index] = to, slot
        slot.index, to.index = to.index, slot.index
        slot.side, to.side = to.side, slot.side
        slot.revision += 1
        to.revision += 1

    def copy_beginning(self, source: Slot, target: Slot, length: int) -> None:
        """Let a slot that holds a beginning of another one hold more of it; only where there are no states."""
        assert self.can_truncate
        start = len(target.token_ids)
        self._copy_rows(source, target, start, length)
        target.token_ids += source.token_ids[start:length]

    def take_snapshot(self, slot: Slot) -> None:
        """Keep a copy of a slot's states as they are now, if there are any and the limits allow it."""
        if not self.can_truncate and slot.token_ids:
            self._snapshots.take(slot)

    def align(self, slots: Sequence[Slot]) -> int:
        """Make slots ready to run together, and return the side that the run reads; it writes the other.

        The states of slots without tokens become zero. Does nothing where there are no states.
        """
        if self.can_truncate:
            return 0
        side = int(2 * sum(slot.side for slot in slots) > len(slots))  # where most of them are
        for slot in slots:
            if slot.token_ids and slot.side == side:
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
        if not self.can_truncate:
            for slot in slots:
                slot.side ^= 1

    def state_rows(self, slot: Slot, side: int) -> list[tuple[int, Buffer]]:
        """Return a slot's row of every state on a side, with the state's place among the tensors."""
        return [(i, self.sides[side][i].rows(slot.index, 1)) for i in self._states]

    def check(self) -> None:
        """Assert the invariants; for tests."""
        assert [slot.index for slot in self.slots] == list(range(len(self.slots)))
        assert all(len(slot.token_ids) <= self.capacity for slot in self.slots)
        assert self.shape.fits(len(self.slots), self.capacity)
        assert self.shape.max_bytes is None or self.nbytes <= self.shape.max_bytes
        for buffers in self.sides:
            for buffer, tensor in zip(buffers, self.shape.tensors, strict=bool(self.slots)):
                least = tensor.shape(len(self.slots), self.capacity)
                assert all(has >= needs for has, needs in zip(buffer.shape, least, strict=True))
        for slot in self.slots:
            positions = [snapshot.position for snapshot in slot.snapshots]
            assert positions == sorted(set(positions))
            assert not positions or positions[-1] <= len(slot.token_ids)

    def _reusable(self, slot: Slot, token_ids: list[int], key: PrefixKey) -> int:
        """Return how many tokens of a prompt need not run if a sequence goes on from a slot."""
        shared = min(slot.common_prefix(token_ids, key), len(token_ids) - 1)
        if self.can_truncate or shared == len(slot.token_ids):
            return shared
        return max((each.position for each in slot.snapshots if each.position <= shared), default=0)

    def _branch_point(self, token_ids: list[int], key: PrefixKey) -> int:
        if self.can_truncate:
            return 0
        shared = max(slot.common_prefix(token_ids, key) for slot in self.slots)
        return shared if MIN_BRANCH <= shared < len(token_ids) - 1 else 0

    def _add_slots(self) -> bool:
        """Add slots while all are in use; near the byte limit one, of a capacity that leaves some room in each."""
        capacity = self.capacity or min(MIN_CAPACITY, self.shape.capacity_for(1))
        count = len(self.slots)
        for num_slots in (min(max(1, 2 * count), self.shape.max_slots), count + 1):
            if num_slots > count and self.shape.fits(num_slots, capacity):
                self._resize(num_slots, capacity)
                return True
        longest = max((len(slot.token_ids) for slot in self.slots), default=0)
        shared = self.shape.capacity_for(count + 1)
        if 0 < count < self.shape.max_slots and shared > longest + max(longest // 2, MIN_ROOM):
            self._resize(count + 1, shared)
            return True
        return False

    def _resize(self, num_slots: int, capacity: int) -> None:
        """Move everything into new buffers, tensor by tensor; slots beyond `num_slots` must be free and are given up.

        Should the device have no memory for the next, some buffers are larger than they need be, which harms nobody.
        """
        if num_slots < len(self.slots):
            self._placement.pack(num_slots)
        self._snapshots.make_room(self.shape.num_bytes(num_slots, capacity))
        self.slots = kept = self.slots[:num_slots]
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

    def _row(self, slot: Slot, tensor: int) -> Buffer:
        return self.sides[slot.side][tensor].rows(slot.index, 1)

    def _copy_prefix(self, source: Slot, target: Slot, length: int) -> None:
        """Let a slot that holds less of the same beginning hold as much of it as `length` says."""
        start = len(target.token_ids)
        self._copy_rows(source, target, start, length)
        if length and not self.can_truncate:
            if length == len(source.token_ids):
                self._copy_states(source, target)
            else:
                self._snapshots.write(source, length, target)
        target.token_ids = source.token_ids[:length]
        target.snapshots = [each for each in source.snapshots if each.position <= length]
        target.revision += 1

    def _copy_rows(self, source: Slot, target: Slot, start: int, stop: int) -> None:
        for i, tensor in enumerate(self.shape.tensors):
            if tensor.per_position and stop > start:
                self._device.copy_positions(
                    self._row(source, i),
                    self._row(target, i),
                    stop - start,
                    source_start=start,
                    target_start=start,
                )

    def _copy_states(self, source: Slot, target: Slot) -> None:
        for i, row in self.state_rows(target, target.side):
            self._device.copy_positions(self._row(source, i), row, 1)
