"""KV cache: who owns which slot of the preallocated buffers, and what tokens its rows hold.

Per layer there is one key and one value buffer, [slots, kv_heads, capacity, head_dim], on the model's device. A
sequence owns a slot while it runs; a slot that was given back keeps its tokens until somebody else needs it, so
that a later prompt with the same beginning computes only the rest. Both dimensions grow by doubling.

Knows nothing of sessions or requests; whoever binds the buffers must look at `epoch`, which changes whenever their
addresses do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from genai.cache.memory import Buffer, Device

__all__ = ["CacheShape", "KVCache", "LayerBuffers", "Slot"]

MIN_CAPACITY = 256


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one token costs, layer by layer.

    Args:
        layers: (kv_heads, head_dim) of each layer.
        dtype: Element type of keys and values.
        max_capacity: Most positions that a slot may have: the context length.
        max_slots: Most slots.
        max_bytes: Most bytes of all buffers together; None is no limit.
    """

    layers: tuple[tuple[int, int], ...]
    dtype: npt.DTypeLike
    max_capacity: int
    max_slots: int
    max_bytes: int | None = None

    @property
    def bytes_per_position(self) -> int:
        """Bytes of one position of one slot: keys and values of all layers."""
        return sum(2 * heads * dim for heads, dim in self.layers) * np.dtype(self.dtype).itemsize

    def fits(self, num_slots: int, capacity: int) -> bool:
        """Whether so many slots of such a capacity stay within all limits."""
        if num_slots > self.max_slots or capacity > self.max_capacity:
            return False
        return self.max_bytes is None or num_slots * capacity * self.bytes_per_position <= self.max_bytes

    def capacity_for(self, num_slots: int) -> int:
        """Return the most positions that each of so many slots may have."""
        if self.max_bytes is None:
            return self.max_capacity
        return min(self.max_capacity, self.max_bytes // (num_slots * self.bytes_per_position))


@dataclass(frozen=True, slots=True)
class LayerBuffers:
    """Keys and values of one layer, [slots, kv_heads, capacity, head_dim] each."""

    key: Buffer
    value: Buffer


@dataclass(slots=True, eq=False)
class Slot:
    """One row of every buffer.

    `token_ids` are the tokens whose keys and values the row holds, from position 0 on. `variant` names how they
    were computed (0, unless the model has several position tables): a prefix is only reused within one variant.
    """

    index: int
    token_ids: list[int] = field(default_factory=list)
    variant: int = 0
    in_use: bool = False
    last_used: int = 0

    def common_prefix(self, token_ids: Sequence[int], variant: int) -> int:
        """Return how many leading tokens of a prompt this slot holds."""
        if self.variant != variant:
            return 0
        limit = min(len(self.token_ids), len(token_ids))
        if self.token_ids[:limit] == token_ids[:limit]:
            return limit
        return next((i for i in range(limit) if self.token_ids[i] != token_ids[i]), limit)


class KVCache:
    """Slots over per-layer buffers that grow by doubling, up to the limits of a `CacheShape`."""

    def __init__(self, shape: CacheShape, device: Device) -> None:
        self.shape = shape
        self.slots: list[Slot] = []
        self.capacity = 0
        self.epoch = 0
        self.layers: list[LayerBuffers] = []
        self._device = device
        self._clock = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return len(self.slots) * self.capacity * self.shape.bytes_per_position

    @property
    def num_in_use(self) -> int:
        """Slots that are owned now."""
        return sum(slot.in_use for slot in self.slots)

    def acquire(self, token_ids: Sequence[int], *, variant: int = 0) -> Slot | None:
        """Take the free slot that holds the longest beginning of a prompt; None if there is no room for another.

        The slot's `token_ids` are cut to what it shares with the prompt, and to one token less than the whole
        prompt: the last prompt token has to run, for its logits.
        """
        free = self._free_slots()
        if not free:
            if not self._add_slots():
                return None
            free = self._free_slots()
        donor = max(self.slots, key=lambda slot: slot.common_prefix(token_ids, variant))
        keep = min(donor.common_prefix(token_ids, variant), len(token_ids) - 1)
        spare = min(
            free, key=lambda slot: (bool(slot.token_ids), slot.last_used)
        )  # empty, else longest unused
        would_lose_much = not spare.token_ids and keep < len(donor.token_ids) // 2
        slot = spare if keep == 0 or donor.in_use or would_lose_much else donor
        if slot is not donor:
            self._copy_rows(donor.index, slot.index, keep)
            slot.token_ids = donor.token_ids[:keep]
        del slot.token_ids[keep:]
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
        self.slots, self.layers, self.capacity = [], [], 0
        self.epoch += 1

    def truncate(self, slot: Slot, length: int) -> None:
        """Forget a slot's tokens from position `length` on."""
        assert length <= len(slot.token_ids)
        del slot.token_ids[length:]

    def copy(self, source: Slot, target: Slot) -> None:
        """Make `target` hold what `source` holds."""
        assert source is not target
        self._copy_rows(source.index, target.index, len(source.token_ids))
        target.token_ids = list(source.token_ids)
        target.variant = source.variant

    def swap(self, a: Slot, b: Slot) -> None:
        """Exchange the rows of two slots; each slot keeps its tokens and gets the other's index."""
        if a is b:
            return
        scratch = {
            (heads, dim): self._device.allocate((1, heads, self.capacity, dim), self.shape.dtype)
            for heads, dim in set(self.shape.layers)
        }
        for layer, heads_and_dim in zip(self.layers, self.shape.layers, strict=True):
            aside = scratch[heads_and_dim]
            for buffer in (layer.key, layer.value):
                row_a, row_b = buffer.rows(a.index, 1), buffer.rows(b.index, 1)
                self._device.copy_positions(row_a, aside, len(a.token_ids))
                self._device.copy_positions(row_b, row_a, len(b.token_ids))
                self._device.copy_positions(aside, row_b, len(a.token_ids))
        self.slots[a.index], self.slots[b.index] = b, a
        a.index, b.index = b.index, a.index

    def check(self) -> None:
        """Assert the invariants; for tests."""
        assert [slot.index for slot in self.slots] == list(range(len(self.slots)))
        assert all(len(slot.token_ids) <= self.capacity for slot in self.slots)
        assert self.shape.fits(len(self.slots), self.capacity)
        for layer, (heads, dim) in zip(self.layers, self.shape.layers, strict=bool(self.slots)):
            expected = (len(self.slots), heads, self.capacity, dim)
            assert layer.key.shape == layer.value.shape == expected

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
        """Move the kept slots (all, or the owned ones if that is fewer) into new buffers, layer by layer.

        If the device has no memory for the next layer, some have moved and some have not: then only `reset` helps.
        """
        kept = self.slots
        if num_slots < len(kept):
            kept = [slot for slot in kept if slot.in_use]
            kept += [slot for slot in self.slots if not slot.in_use][: num_slots - len(kept)]
        old_indices = [slot.index for slot in kept]
        for i, (heads, dim) in enumerate(self.shape.layers):
            shape = (num_slots, heads, capacity, dim)
            new = LayerBuffers(
                self._device.allocate(shape, self.shape.dtype), self._device.allocate(shape, self.shape.dtype)
            )
            if i < len(self.layers):
                old = self.layers[i]
                for new_index, (old_index, slot) in enumerate(zip(old_indices, kept, strict=True)):
                    length = len(slot.token_ids)
                    for source, target in ((old.key, new.key), (old.value, new.value)):
                        self._device.copy_positions(
                            source.rows(old_index, 1), target.rows(new_index, 1), length
                        )
                self.layers[i] = new
            else:
                self.layers.append(new)
        for new_index, slot in enumerate(kept):
            slot.index = new_index
        self.slots = [*kept, *(Slot(index) for index in range(len(kept), num_slots))]
        self.capacity = capacity
        self.epoch += 1

    def _copy_rows(self, source: int, target: int, length: int) -> None:
        for layer in self.layers:
            for buffer in (layer.key, layer.value):
                self._device.copy_positions(buffer.rows(source, 1), buffer.rows(target, 1), length)
