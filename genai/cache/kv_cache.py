"""KV cache: who owns which slot of the preallocated buffers, and what tokens its rows hold.

Per tensor of the model there is one buffer, [slots, outer, capacity, inner], on the model's device. A sequence owns
a slot while it runs; a slot that was given back keeps its tokens until somebody else needs it, so that a later prompt
with the same beginning computes only the rest. Slots and capacity grow by doubling. Where a device gives back the
memory of what is discarded, idle slots hold no more than lets all slots stay within what was in use at once before.

A model may also have states (`CacheTensor.per_position` is False): of these only what follows the slot's last token
exists, so they cannot be cut back. Snapshots keep copies of them at a few earlier positions, from which a prefix can
be reused. A state is read and written in one run by operators that need not finish reading before they write; so each
has two buffers, the two sides, and a run reads one side and writes the other.

Knows nothing of sessions or requests; whoever binds the buffers must look at `epoch`, which changes whenever their
addresses do, and take the number of positions from each buffer: it is at least `capacity`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Sequence

from genai.cache.memory import Buffer, Device
from genai.cache.placement import RowPlacement
from genai.cache.prefix_file import CachedPrefix
from genai.cache.rotation import Rotation
from genai.cache.shape import CacheShape
from genai.cache.slot import PrefixKey, Slot, common_length
from genai.cache.slot_buffers import SlotBuffers
from genai.cache.snapshots import SnapshotStore
from genai.errors import OptionError

__all__ = ["KVCache", "share_bytes"]

MIN_CAPACITY = 256
MIN_DISCARDED = 64
"""Fewer positions behind a cut are not worth the calls that give their memory back."""
MIN_IDLE_BYTES = 16 << 20
"""What idle slots may hold in any case."""
MIN_BRANCH = 16
"""A shorter beginning that two prompts share is not worth a run of its own, for a snapshot at its end."""


class KVCache:
    """Slots over buffers that grow by doubling, up to the limits of a `CacheShape`."""

    def __init__(self, shape: CacheShape, device: Device) -> None:
        self.can_truncate = not shape.has_states
        self._buffers = SlotBuffers(shape, device)
        self._snapshots = SnapshotStore(self._buffers, device)
        self._placement = RowPlacement(self._buffers, self._snapshots)
        self._clock = 0
        self._most_in_use = 0  # positions

    @property
    def shape(self) -> CacheShape:
        """What a slot is made of, and how much there may be."""
        return self._buffers.shape

    def limit(self, max_bytes: int) -> None:
        """Hold at most so many bytes from now on; nothing may be held yet.

        Raises:
            OptionError: They are too few for a single token.
        """
        assert not self.slots
        shape = dataclasses.replace(self.shape, max_bytes=max_bytes)
        if not shape.fits(1, 1):
            raise OptionError(f"kv_cache_bytes={max_bytes} holds not even one token of this model")
        self._buffers.shape = shape

    @property
    def slots(self) -> list[Slot]:
        """All slots, in the order of their rows."""
        return self._buffers.slots

    @property
    def capacity(self) -> int:
        """Positions that every slot has room for."""
        return self._buffers.capacity

    @property
    def epoch(self) -> int:
        """A number that changes whenever a buffer's address does."""
        return self._buffers.epoch

    @property
    def sides(self) -> tuple[list[Buffer], list[Buffer]]:
        """The buffers by side and tensor; both sides have the same one, unless it is a state's."""
        return self._buffers.sides

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers and snapshots, and of what the runtime holds beside them."""
        return self.shape.num_bytes(len(self.slots), self.capacity) + self._snapshots.nbytes

    def num_tokens(self, *, in_use: bool) -> int:
        """Return how many tokens the slots hold that are owned, or that are not; another thread may ask at any time."""
        return sum(len(slot.token_ids) for slot in tuple(self.slots) if slot.in_use == in_use)

    @property
    def num_in_use(self) -> int:
        """Slots that are owned now."""
        return sum(slot.in_use for slot in self.slots)

    def acquire(
        self,
        token_ids: Sequence[int],
        *,
        key: PrefixKey = PrefixKey(),  # noqa: B008
        least_capacity: int | None = None,
    ) -> Slot | None:
        """Take a free slot that holds the longest beginning of a prompt; None if there is no room for another.

        The slot's `token_ids` are cut to what it shares with the prompt, and to one token less than the whole
        prompt: the last prompt token has to run, for its logits. Where states cannot be cut back that far, to an
        earlier snapshot or to nothing. Beside slots that are in use, one is taken that lies next to them. Where only
        the byte limit is in the way of another slot, capacity is given up for it, down to `least_capacity` if given.

        Raises:
            OutOfMemoryError: The device has no memory for another slot.
        """
        if all(slot.in_use for slot in self.slots) and not self._add_slots(least_capacity):
            return None
        token_ids = list(token_ids)
        donor, keep = self._best_donor(token_ids, key)
        branch_point = self._branch_point(token_ids, key)
        slot = self._placement.choose(donor, keep)
        if slot is donor:
            self.truncate(slot, keep)
        else:
            self.truncate(slot, 0)
            self._copy_prefix(donor, slot, keep)
        slot.key, slot.in_use, slot.branch_point = key, True, branch_point
        self._limit_idle(len(token_ids) - len(slot.token_ids))
        return slot

    def num_cached(self, token_ids: Sequence[int], *, key: PrefixKey) -> int:
        """Return about how many tokens of a prompt a slot holds; another thread may change slots meanwhile."""
        found, ids = 0, list(token_ids)
        for slot in tuple(self._buffers.slots):
            with contextlib.suppress(IndexError):  # emptied while it was looked at
                found = max(found, min(slot.common_prefix(ids, key), len(ids) - 1))
        return found

    def adopt_prefix(self, slot: Slot, token_ids: list[int]) -> None:
        """Let an owned slot go on from a longer beginning of a prompt, if another slot holds one by now."""
        donor, keep = self._best_donor(token_ids, slot.key)
        slot.branch_point = max(slot.branch_point, self._branch_point(token_ids, slot.key))
        if donor is not slot and keep > len(slot.token_ids):
            self._copy_prefix(donor, slot, keep)

    def release(self, slot: Slot) -> None:
        """Give a slot back; its tokens stay for a later prompt until it is taken again, unless some were dropped."""
        assert slot.in_use
        if slot.key.has_dropped:
            self.truncate(slot, 0)
        self._most_in_use = max(self._most_in_use, self.num_tokens(in_use=True))
        self._clock += 1
        slot.in_use, slot.last_used = False, self._clock
        self._limit_idle()

    def reserve(self, num_positions: int) -> bool:
        """Make every slot hold at least so many positions; False if the limits do not allow it.

        Where the byte limit is in the way, slots that nobody owns are given up, tokens and all.

        Raises:
            OutOfMemoryError: The device has no memory for it; the slots in use are as they were.
        """
        if num_positions <= self.capacity:
            return True
        if num_positions > self.shape.max_capacity:
            return False
        doubled = max(2 * self.capacity, MIN_CAPACITY)
        while doubled < num_positions:
            doubled *= 2
        for num_slots in (max(len(self.slots), 1), max(self.num_in_use, 1)):
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
        self._resize(num_slots, self._first_capacity(num_slots))

    def reset(self) -> None:
        """Give up all slots and buffers, owned ones too, whatever state an interruption left them in."""
        self._buffers.reset()

    def truncate(self, slot: Slot, length: int) -> None:
        """Forget a slot's tokens from position `length` on; where there are states, back to a snapshot or to 0."""
        num_held = len(slot.token_ids)
        self._snapshots.truncate(slot, length)
        if num_held - len(slot.token_ids) >= MIN_DISCARDED:
            self._buffers.discard(slot, len(slot.token_ids))

    def drop(self, slot: Slot, start: int, count: int, rotations: Sequence[Rotation | None]) -> None:
        """Forget tokens in the middle of a slot, and move those behind them to the positions that become free.

        What is left was computed while the others were there: no prompt takes it over.

        Args:
            slot: An owned slot.
            start: The first position to forget.
            count: How many.
            rotations: How positions have turned each tensor; `None` is not at all.

        Raises:
            OutOfMemoryError: The device has no memory for a copy; what the slot holds is undefined then.
        """
        assert self.can_truncate
        stop, length = start + count, len(slot.token_ids)
        assert start < stop <= length
        if stop < length:
            self._buffers.move_positions(slot, stop, length - stop, start, rotations)
        slot.key = dataclasses.replace(slot.key, has_dropped=True)
        del slot.token_ids[start:stop]
        slot.revision += 1

    def copy(self, source: Slot, target: Slot) -> None:
        """Make `target` hold what `source` holds; what both hold already is not copied."""
        assert source is not target
        assert not source.key.has_dropped, "equal tokens may be computed from others"
        shared = common_length(source.token_ids, target.token_ids) if source.key == target.key else 0
        del target.token_ids[shared:]
        target.key = source.key
        self._copy_prefix(source, target, len(source.token_ids))

    def read(self, slot: Slot) -> CachedPrefix:
        """Return a copy of what an owned slot holds."""
        return CachedPrefix(tuple(slot.token_ids), slot.key, self._buffers.read(slot))

    def write(self, slot: Slot, prefix: CachedPrefix) -> None:
        """Let an owned slot hold what another one held; `reserve` must have made room.

        Raises:
            OutOfMemoryError: The device has no memory for the copy; the slot is empty then.
        """
        self.truncate(slot, 0)
        self._buffers.write(slot, prefix.tensors)
        slot.key, slot.token_ids = prefix.key, list(prefix.token_ids)
        slot.revision += 1
        self.take_snapshot(slot)

    def line_up(self, slots: list[Slot], *, in_blocks: bool = False) -> list[Slot]:
        """Return neighbouring slots, in order, that are these and perhaps idle ones in between.

        An idle slot may run along: its content stays, but for what lies behind its tokens. Rows are moved where that
        pays, a part at each call (see `genai.cache.placement`).

        Args:
            slots: Those that run.
            in_blocks: Return 1, 2, 4, 8, ... slots, or all that there are: so that few different runs have to be recorded.
        """
        return self._placement.line_up(slots, in_blocks=in_blocks)

    def take_snapshot(self, slot: Slot) -> None:
        """Keep a copy of a slot's states as they are now, if there are any and the limits allow it."""
        if not self.can_truncate and slot.token_ids:
            self._snapshots.take(slot)

    def align(self, slots: Sequence[Slot], *, idle: Collection[Slot] = ()) -> int:
        """Make slots ready to run together, some of them idle, and return the side that the run reads; it writes the other."""
        return self._buffers.align(slots, idle=idle)

    def flip(self, slots: Collection[Slot]) -> None:
        """Note that a run has written these slots' states to the side that `align` did not return."""
        self._buffers.flip(slots)

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

    def _best_donor(self, token_ids: list[int], key: PrefixKey) -> tuple[Slot, int]:
        """Return the slot to go on from, a free one if there is a choice, and how many tokens need not run then."""
        reusable = {slot: self._reusable(slot, token_ids, key) for slot in self.slots}
        donor = max(self.slots, key=lambda slot: (reusable[slot], not slot.in_use))
        return donor, reusable[donor]

    def _reusable(self, slot: Slot, token_ids: list[int], key: PrefixKey) -> int:
        """Return how many tokens of a prompt need not run if a sequence goes on from a slot."""
        shared = min(slot.common_prefix(token_ids, key), len(token_ids) - 1)
        if self.can_truncate or shared == len(slot.token_ids):
            return shared
        return max((each.position for each in slot.snapshots if each.position <= shared), default=0)

    def _limit_idle(self, num_awaited: int = 0) -> None:
        """Empty idle slots, those used longest ago first, where all slots would hold more than ever was in use."""
        if not self._buffers.can_discard:
            return
        least = MIN_IDLE_BYTES // max(self.shape.bytes_per_position, 1)
        room = max(self._most_in_use - self.num_tokens(in_use=True) - num_awaited, least)
        for slot in sorted(self.slots, key=lambda slot: -slot.last_used):
            if not slot.in_use and slot.token_ids:
                room -= len(slot.token_ids)
                if room < 0:
                    self.truncate(slot, 0)

    def _branch_point(self, token_ids: list[int], key: PrefixKey) -> int:
        if self.can_truncate:
            return 0
        shared = max(slot.common_prefix(token_ids, key) for slot in self.slots)
        return shared if MIN_BRANCH <= shared < len(token_ids) - 1 else 0

    def _first_capacity(self, num_slots: int) -> int:
        """Return how many positions slots begin with: all at once where these take no memory."""
        most = self.shape.capacity_for(num_slots)
        return min(MIN_CAPACITY, most) if self.shape.bytes_per_position else most

    def _add_slots(self, least_capacity: int | None) -> bool:
        capacity = self.capacity or self._first_capacity(1)
        count = len(self.slots)
        for num_slots in (min(max(1, 2 * count), self.shape.max_slots), count + 1):
            if num_slots > count and self.shape.fits(num_slots, capacity):
                self._resize(num_slots, capacity)
                return True
        shared = self.shape.capacity_for(count + 1)
        if least_capacity is not None and 0 < count < self.shape.max_slots and shared >= least_capacity:
            self._resize(count + 1, min(shared, capacity))
            return True
        return False

    def _resize(self, num_slots: int, capacity: int) -> None:
        """Change the buffers' size; of the slots that are given up none may be owned, once the others have moved."""
        if num_slots < len(self.slots):
            self._placement.pack(num_slots)
        self._snapshots.make_room(self.shape.num_bytes(num_slots, capacity))
        self._buffers.resize(num_slots, capacity)

    def _copy_prefix(self, source: Slot, target: Slot, length: int) -> None:
        """Let a slot that holds less of the same beginning hold as much of it as `length` says."""
        start = len(target.token_ids)
        self._buffers.copy_rows(source, target, start, length)
        if length and not self.can_truncate:
            if length == len(source.token_ids):
                self._buffers.copy_states(source, target)
            else:
                self._snapshots.write(source, length, target)
        target.token_ids = source.token_ids[:length]
        target.snapshots = [each for each in source.snapshots if each.position <= length]
        target.revision += 1


def share_bytes(caches: Sequence[KVCache], num_bytes: int) -> None:
    """Limit caches that lie on one device to so many bytes together, each by what a short sequence takes in it.

    Raises:
        OptionError: They are too few.
    """
    each = [cache.shape.num_bytes(1, MIN_CAPACITY) for cache in caches]
    for cache, share in zip(caches, each, strict=True):
        cache.limit(num_bytes * share // sum(each))
