"""A fake model over fake device memory, and a tokenizer of bytes: the engine's tests need no ONNX Runtime.

The fake model keeps each token in the KV cache, in memory that the host cannot reach, and computes its logits from
what it reads back: whatever the cache or the scheduler gets wrong changes the tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from genai.cache import Buffer, CacheShape, CacheTensor, KVCache, PrefixKey, Slot
from genai.errors import OptionError
from genai.model import Span, StepOutput

TENSORS = tuple(CacheTensor(outer, inner, np.float32) for outer, inner in ((2, 3), (2, 3), (1, 4), (1, 2)))
STATE = CacheTensor(1, 2, np.int64, per_position=False)
POISON = 0xFF  # NaN in every float type, a negative number in the integers


class PoisonedDevice:
    """Memory behind made-up addresses, poisoned when it is allocated; only the seam's copies reach it."""

    name = "fake"
    index = 7
    can_discard = True

    def __init__(self) -> None:
        self._next_address = 1 << 40
        self.num_positions = 0  # copied so far

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        memory = np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, POISON, np.uint8)
        address, self._next_address = self._next_address, self._next_address + memory.nbytes + 4096
        return Buffer(shape, np.dtype(dtype), address, (address, memory))

    def free_bytes(self) -> None:
        return None

    def host_view(self, buffer: Buffer) -> None:
        return None

    def host_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.zeros(shape, dtype)

    def copy_in(self, array: npt.NDArray[Any], buffer: Buffer) -> None:
        assert array.shape == buffer.shape
        self.peek(buffer)[...] = array

    def copy_out(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        assert array.shape == buffer.shape
        array[...] = self.peek(buffer)

    def copy_positions(
        self, source: Buffer, target: Buffer, count: int, *, source_start: int = 0, target_start: int = 0
    ) -> None:
        assert source.shape[:2] == target.shape[:2]
        assert source.shape[3] == target.shape[3]
        assert source_start + count <= source.shape[2]
        assert target_start + count <= target.shape[2]
        self.num_positions += count
        copied = self.peek(source)[:, :, source_start : source_start + count]
        self.peek(target)[:, :, target_start : target_start + count] = copied

    def discard(self, buffer: Buffer, start: int) -> None:
        self.peek(buffer)[:, :, start:].view(np.uint8)[...] = POISON

    def peek(self, buffer: Buffer) -> npt.NDArray[Any]:
        """Return the device's own view of a buffer."""
        base, memory = buffer.owner  # type: ignore[misc]
        start = buffer.address - base
        assert start >= 0
        assert start + buffer.nbytes <= memory.nbytes
        return memory[start : start + buffer.nbytes].view(buffer.dtype).reshape(buffer.shape)


class FakeModel:
    """A decoder whose next token is a function of all tokens before it, read back from the cache.

    With a state it also folds every token into one number, which can be made again from no other tokens.
    """

    def __init__(
        self,
        *,
        vocab_size: int = 300,
        context_length: int = 64,
        max_batch: int = 4,
        max_bytes: int | None = None,
        switch_length: int | None = None,
        has_state: bool = False,
        adapters: Sequence[str] = (),
    ) -> None:
        self.device = PoisonedDevice()
        tensors = (*TENSORS, STATE) if has_state else TENSORS
        shape = CacheShape(tensors, context_length, max_batch, max_bytes)
        self.cache = KVCache(shape, self.device)
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.max_batch = max_batch
        self.prompt_chunk = 512
        self.switch_length = switch_length
        self.adapters = tuple(adapters)
        self.runs: list[tuple[str, int]] = []
        self.fail_next = False
        self._unwanted: frozenset[Slot] = frozenset()

    @property
    def rounds_activations(self) -> bool:
        return False

    @property
    def can_pad(self) -> bool:
        return self.cache.can_truncate

    def rotations(self) -> list[None]:
        if not self.cache.can_truncate or self.position_table_for(self.context_length):
            raise OptionError("this model's cache cannot be moved")
        return [None] * len(self.cache.shape.tensors)

    def position_table_for(self, length: int) -> int:
        return int(self.switch_length is not None and length > self.switch_length)

    def give_up(self, slots: Collection[Slot]) -> None:
        self._unwanted |= frozenset(slots)

    def run(self, batch: Sequence[Span]) -> StepOutput:
        if self.fail_next:
            self.fail_next = False
            raise KeyboardInterrupt
        assert len({span.slot for span in batch}) == len(batch)
        steps = [span for span in batch if span.is_step]
        others = [span for span in batch if span not in steps]
        unwanted, self._unwanted = self._unwanted, frozenset()
        if prompts := [span for span in others if not (span.num_logits or span.slot in unwanted)]:
            self.runs.append(("prefill", sum(len(span.token_ids) for span in prompts)))
        logits = {span.slot: self._append(span) for span in prompts}
        if steps:
            self.runs.append(("decode", len(steps)))
            logits |= self._step({span.slot: span.token_ids[0] for span in steps})
        # Last, as the decoder has it: a slot that is filled to the end has no room to run along with the steps.
        logits |= {span.slot: self._append(span) for span in others if span.num_logits}
        rows, starts = [np.zeros((1, self.vocab_size), np.float32)], []  # a row that nobody asked for
        for span in batch:
            starts.append(sum(map(len, rows)))
            rows.append(logits[span.slot][-span.num_logits :] if span.num_logits else rows[0][:0])
        return StepOutput.of(np.concatenate(rows), starts)

    def expected(self, prompt: Sequence[int], count: int, *, adapter: str | None = None) -> list[int]:
        """Return the greedy continuation, computed without any cache."""
        ids = list(prompt)
        for _ in range(count):
            kind = self._kind(PrefixKey(self.position_table_for(len(ids)), adapter))
            ids.append(int(fake_logits(ids, [kind] * len(ids), self.vocab_size).argmax()))
        return ids[len(prompt) :]

    def _kind(self, key: PrefixKey) -> int:
        """Return a number that stands for how a token is computed."""
        return key.position_table + 2 * (0 if key.adapter is None else 1 + self.adapters.index(key.adapter))

    def _step(self, token_of: dict[Slot, int]) -> dict[Slot, npt.NDArray[np.float32]]:
        """Append a token to each of these; what is idle between them writes what must never be read."""
        slots = self.cache.line_up(list(token_of))
        assert [slot.index for slot in slots] == list(range(slots[0].index, slots[0].index + len(slots)))
        assert token_of.keys() <= set(slots)
        side = self.cache.align(slots)
        for slot in slots:
            if slot in token_of:
                self._write(slot, [token_of[slot]], side)
            else:
                for row in self._rows(slot):
                    row[0, :, len(slot.token_ids)] = -1
                if not self.cache.can_truncate:
                    self._state(slot, 1 - side)[...] = -1
        self.cache.flip(token_of)
        return {slot: self._logits(slot)[None] for slot in token_of}

    def _append(self, span: Span) -> npt.NDArray[np.float32]:
        """Append a span's tokens, and return the logits at each."""
        logits = []
        for token_ids in [[token_id] for token_id in span.token_ids] if span.num_logits else [span.token_ids]:
            self._write(span.slot, token_ids, self.cache.align([span.slot]))
            self.cache.flip([span.slot])
            logits.append(self._logits(span.slot))
        return np.stack(logits)

    def _write(self, slot: Slot, token_ids: Sequence[int], side: int) -> None:
        kind = self._kind(slot.key)
        for token_id in token_ids:
            for row in self._rows(slot):
                row[0, :, len(slot.token_ids)] = token_id + 1000 * kind
            slot.token_ids.append(token_id)
        if not self.cache.can_truncate:
            past, present = self._state(slot, side), self._state(slot, 1 - side)
            present[...] = _fold(token_ids, kind, int(past.flat[0]))
            past[...] = -1

    def _state(self, slot: Slot, side: int) -> npt.NDArray[Any]:
        return self.device.peek(self.cache.sides[side][-1].rows(slot.index, 1))

    def _logits(self, slot: Slot) -> npt.NDArray[np.float32]:
        length = len(slot.token_ids)
        contents = [row[0, :, :length] for row in self._rows(slot)]
        first = contents[0][0, :, 0]
        assert all((content == first[None, :, None]).all() for content in contents), "the cache was mixed up"
        stored = first.astype(int).tolist()
        if not self.cache.can_truncate:
            folded = _fold(slot.token_ids, self._kind(slot.key), 0)
            assert (self._state(slot, slot.side) == folded).all(), "the states were mixed up"
        return fake_logits([s % 1000 for s in stored], [s // 1000 for s in stored], self.vocab_size)

    def _rows(self, slot: Slot) -> Iterator[npt.NDArray[Any]]:
        for buffer in self.cache.sides[0][: len(TENSORS)]:
            yield self.device.peek(buffer.rows(slot.index, 1))


def _fold(token_ids: Sequence[int], kind: int, state: int) -> int:
    for token_id in token_ids:
        state = (state * 1_000_003 + token_id + 1000 * kind + 17) % (1 << 31)
    return state


def fake_logits(ids: Sequence[int], kinds: Sequence[int], vocab_size: int) -> npt.NDArray[np.float32]:
    """Return logits that depend on every token, its place, and how it was computed."""
    seed = 0
    for value in itertools.chain(*zip(ids, kinds, strict=True)):
        seed = (seed * 1_000_003 + value + 17) % (1 << 61)
    return np.random.default_rng(seed).normal(size=vocab_size).astype(np.float32) * 3


class ByteTokenizer:
    """Tokens are the bytes of UTF-8; 256 begins a text, 257 ends one."""

    bos_token_id, eos_token_id = 256, 257

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [self.bos_token_id] * add_special_tokens + list(text.encode())

    def decode(self, token_ids: Sequence[int]) -> str:
        return bytes(t for t in token_ids if t < 256).decode(errors="replace")

    def overlapping(self, text: str) -> list[tuple[int, ...]]:
        return [tuple(text.encode())]

    def detokenizer(self) -> ByteDetokenizer:
        return ByteDetokenizer(self)


class ByteDetokenizer:
    """Emits text whenever the bytes so far are complete characters."""

    def __init__(self, tokenizer: ByteTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._emitted = 0

    def push(self, token_id: int) -> str:
        self._ids.append(token_id)
        text = self._tokenizer.decode(self._ids)
        settled = text.rstrip("\ufffd")
        piece = settled[self._emitted :]
        self._emitted = max(self._emitted, len(settled))
        return piece

    def finish(self) -> str:
        return self._tokenizer.decode(self._ids)[self._emitted :]


class Forcing:
    """A constraint that leaves a choice at every so manieth token."""

    option = "forcing"
    is_done = is_waiting = False

    def __init__(self, period: int, num_accepted: int = 0) -> None:
        self.period = period
        self.num_accepted = num_accepted

    def apply(self, logits: Any) -> None:
        forced = self.forced_token()
        if forced is not None:
            logits[np.arange(len(logits)) != forced] = -np.inf

    def accept(self, token_id: int) -> None:
        assert self.forced_token() in (None, token_id)
        self.num_accepted += 1

    def forced_token(self) -> int | None:
        return self.num_accepted if self.num_accepted % self.period else None

    def copy(self) -> Forcing:
        return Forcing(self.period, self.num_accepted)
