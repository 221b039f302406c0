"""KV cache: who owns which slot of the preallocated buffers, and what tokens its rows hold.

Per tensor of the model there is one buffer, [slots, outer, capacity, inner], on the model's device. A sequence owns
a slot while it runs; a slot that was given back keeps its tokens until somebody else needs it, so that a later prompt
with the same beginning computes only the rest. Slots and capacity grow by doubling.

A model may also have states (`CacheTensor.per_position` is False): of these only what follows the slot's last token
exists, so they cannot be cut back, and a prefix is reused whole or not at all. A state is read and written in one run
by operators that need not finish reading before they write; so each has two buffers, the two sides, and a run reads
one side and writes the other.

Knows nothing of sessions or requests; whoever binds the buffers must look at `epoch`, which changes whenever their
addresses do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from genai.cache.memory import Buffer, Device
from genai.cache.shape import CacheShape, CacheTensor

__all__ = ["KVCache", "Slot"]

MIN_CAPACITY = 256


@dataclass(slots=True, eq=False)
class Slot:
    """One row of every buffer.

    `token_ids` are the tokens whose keys and values the row holds, from position 0 on. `variant` names how they
    were computed (0, unless the model has several position tables): a prefix is only reused within one variant.
    `side` says in which of a state's two buffers the row is. `revision` changes whenever the row's content does,
    other than by a run that appends to it.
    """

    index: int
    token_ids: list[int] = field(default_factory=list)
    variant: int = 0
    in_use: bool = False
    last_used: int = 0
    side: int = 0
    revision: int = 0

    def common_prefix(self, token_ids: Sequence[int], variant: int) -> int:
        """Return how many leading tokens of a prompt this slot holds."""
        if self.variant != variant:
            return 0
        limit = min(len(self.token_ids), len(token_ids))
        if self.token_ids[:limit] == token_ids[:limit]:
            return limit
        return next((i for i in range(limit) if self.token_ids[i] != token_ids[i]), limit)


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
        self._states = [i for i, tensor in enumerate(shape.tensors) if not tensor.per_position]
        self.sides: tuple[list[Buffer], list[Buffer]] = ([], [])
        self._device = device
        self._clock = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers, and of what the runtime holds beside them."""
        return self.shape.num_bytes(len(self.slots), self.capacity)

    @property
    def num_in_use(self) -> int:
        """Slots that are owned now."""
        return sum(slot.in_use for slot in self.slots)

    def acquire(self, token_ids: Sequence[int], *, variant: int = 0) -> Slot | None:
        """Take the free slot that holds the longest beginning of a prompt; None if there is no room for another.

        The slot's `token_ids` are cut to what it shares with the prompt, and to one token less than the whole
        prompt: the last prompt token has to run, for its logits. Where they cannot be cut, they are kept if all of
        them begin the prompt, and forgotten if not.
        """
        free = self._free_slots()
        if not free:
            if not self._add_slots():
                return None
            free = self._free_slots()
        reusable = {slot: self._reusable(slot, token_ids, variant) for slot in self.slots}
        donor = max(self.slots, key=lambda slot: reusable[slot])
        keep = reusable[donor]
        spare = min(
            free, key=lambda slot: (bool(slot.token_ids), slot.last_used)
        )  # empty, else longest unused
        would_lose_much = not spare.token_ids and keep < len(donor.token_ids) // 2
        slot = spare if keep == 0 or donor.in_use or would_lose_much else donor
        if slot is not donor:
            self._copy_rows(donor, slot, keep)
            slot.token_ids = donor.token_ids[:keep]
        del slot.token_ids[keep:]
        slot.revision += 1
        slot.variant, slot.in_use = variant, True
        return slot

    def release(self, slot: Slot) -> None:
        """Give a slot back; its tokens stay for a later prompt until it is taken again."""
        assert slot.in_use
        self._clock += 1
        slot.in_use, slot.last_used = False, self._clock

    def reserve(self, num_positions: int) -> bool:
        """Make every slot hold at least so many positions; False if the limits do not allow it.

        Where the byte limit is in the way, slots that nobody owns are given up, tokens and all.
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
                self._reallocate(num_slots, capacity)
                return True
        return False

    def restart(self, num_slots: int) -> None:
        """Give up everything for so many empty slots, which nobody may own yet.

        Capacity never shrinks, so that under a byte limit the buffers of one long sequence leave no room for
        several short ones.
        """
        assert self.num_in_use == 0
        self.reset()
        self._reallocate(num_slots, min(MIN_CAPACITY, self.shape.capacity_for(num_slots)))

    def reset(self) -> None:
        """Give up all slots and buffers, owned ones too, whatever state an interruption left them in."""
        self.slots, self.sides, self.capacity = [], ([], []), 0
        self.epoch += 1

    def truncate(self, slot: Slot, length: int) -> None:
        """Forget a slot's tokens from position `length` on; only all of them unless `can_truncate`."""
        assert length <= len(slot.token_ids)
        assert self.can_truncate or length in (0, len(slot.token_ids))
        del slot.token_ids[length:]
        slot.revision += 1

    def copy(self, source: Slot, target: Slot) -> None:
        """Make `target` hold what `source` holds."""
        assert source is not target
        self._copy_rows(source, target, len(source.token_ids))
        target.token_ids = list(source.token_ids)
        target.variant = source.variant
        target.revision += 1

    def swap(self, a: Slot, b: Slot) -> None:
        """Exchange the rows of two slots; each slot keeps its tokens and gets the other's index."""
        if a is b:
            return
        scratch: dict[CacheTensor, Buffer] = {}
        for i, tensor in enumerate(self.shape.tensors):
            if tensor not in scratch:
                scratch[tensor] = self._device.allocate(tensor.shape(1, self.capacity), tensor.dtype)
            row_a, row_b, aside = self._row(a, i), self._row(b, i), scratch[tensor]
            self._device.copy_positions(row_a, aside, _num_rows(tensor, len(a.token_ids)))
            self._device.copy_positions(row_b, row_a, _num_rows(tensor, len(b.token_ids)))
            self._device.copy_positions(aside, row_b, _num_rows(tensor, len(a.token_ids)))
        self.slots[a.index], self.slots[b.index] = b, a
        a.index, b.index = b.index, a.index
        a.side, b.side = b.side, a.side

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
            for i in self._states:
                target = self.sides[side][i].rows(slot.index, 1)
                if slot.token_ids:
                    self._device.copy_positions(self._row(slot, i), target, 1)
                else:
                    self._device.copy_in(np.zeros(target.shape, target.dtype), target)
            slot.side = side
        return side

    def flip(self, slots: Sequence[Slot]) -> None:
        """Note that a run has written these slots' states to the side that `align` did not return."""
        if not self.can_truncate:
            for slot in slots:
                slot.side ^= 1

    def check(self) -> None:
        """Assert the invariants; for tests."""
        assert [slot.index for slot in self.slots] == list(range(len(self.slots)))
        assert all(len(slot.token_ids) <= self.capacity for slot in self.slots)
        assert self.shape.fits(len(self.slots), self.capacity)
        for buffers in self.sides:
            for buffer, tensor in zip(buffers, self.shape.tensors, strict=bool(self.slots)):
                assert buffer.shape == tensor.shape(len(self.slots), self.capacity)

    def _reusable(self, slot: Slot, token_ids: Sequence[int], variant: int) -> int:
        """Return how many tokens of a prompt need not run if a sequence goes on from a slot."""
        shared = min(slot.common_prefix(token_ids, variant), len(token_ids) - 1)
        return shared if self.can_truncate or shared == len(slot.token_ids) else 0

    def _free_slots(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.in_use]

    def _add_slots(self) -> bool:
        capacity = self.capacity or min(MIN_CAPACITY, self.shape.capacity_for(1))
        count = len(self.slots)
        for wanted in (min(max(1, 2 * count), self.shape.max_slots), count + 1):
            if wanted > count and self.shape.fits(wanted, capacity):
                self._reallocate(wanted, capacity)
                return True
        return False

    def _reallocate(self, num_slots: int, capacity: int) -> None:
        """Move the kept slots (all, or the owned ones if that is fewer) into new buffers, tensor by tensor.

        If the device has no memory for the next, some have moved and some have not: then only `reset` helps.
        """
        kept = self.slots
        if num_slots < len(kept):
            kept = [slot for slot in kept if slot.in_use]
            kept += [slot for slot in self.slots if not slot.in_use][: num_slots - len(kept)]
        for i, tensor in enumerate(self.shape.tensors):
            shape = tensor.shape(num_slots, capacity)
            new = [self._device.allocate(shape, tensor.dtype) for _ in range(1 if tensor.per_position else 2)]
            for side, buffers in enumerate(self.sides):
                target = new[side % len(new)]
                if i == len(buffers):
                    buffers.append(target)
                    continue
                for new_index, slot in enumerate(kept):
                    if slot.side == side:
                        count = _num_rows(tensor, len(slot.token_ids))
                        self._device.copy_positions(self._row(slot, i), target.rows(new_index, 1), count)
                buffers[i] = target
        for new_index, slot in enumerate(kept):
            slot.index = new_index
        self.slots = [*kept, *(Slot(index) for index in range(len(kept), num_slots))]
        self.capacity = capacity
        self.epoch += 1

    def _row(self, slot: Slot, tensor: int) -> Buffer:
        return self.sides[slot.side][tensor].rows(slot.index, 1)

    def _copy_rows(self, source: Slot, target: Slot, length: int) -> None:
        """Copy the first `length` positions, and states whole: `length` is 0 or all of the source's where there are any."""
        for i, tensor in enumerate(self.shape.tensors):
            self._device.copy_positions(self._row(source, i), self._row(target, i), _num_rows(tensor, length))


def _num_rows(tensor: CacheTensor, length: int) -> int:
    """Return how many positions of a tensor there are to copy when its slot holds so many tokens."""
    return length if tensor.per_position else min(length, 1)
