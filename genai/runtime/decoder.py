"""A loaded decoder: its session, its KV cache, and the few buffers that a step changes.

The three things it does: `prefill` appends tokens to one slot without computing logits, `decode` appends one token
to each of the first slots and returns their logits, `score` appends tokens to one slot and returns the logits of
all of them. Where the graph's shapes stay as they are, decoding binds once per number of rows; a step then writes some
integers and runs.

A run takes neighbouring slots. Most graphs take any that there are; what some do not take together (sequences of
different lengths, say) runs in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from genai.cache import CacheShape, KVCache, Slot
from genai.errors import GenerationError, OptionError
from genai.folder import ModelFolder
from genai.runtime.graph_interface import GraphInterface
from genai.runtime.growing import GrowingCache
from genai.runtime.ort import ORT_ERRORS
from genai.runtime.session import Binding, DecoderSession, open_sessions
from genai.runtime.step_buffers import StepBuffers

__all__ = ["Decoder"]

DEFAULT_MAX_BATCH = 16
SCORE_CHUNK = 64
PROMPTS = -1
"""The arena of prompts; those of decoding steps go by their first slot."""

RUN_ERRORS: tuple[type[Exception], ...] = (RuntimeError, *ORT_ERRORS)


class Decoder:
    """A model folder, loaded.

    Args:
        folder: The model folder.
        provider: Execution provider, or "auto".
        device_id: Which device of the provider.
        max_context: Most tokens per sequence; None is the model's context length.
        max_batch: Most sequences at a time.
        kv_cache_bytes: Most bytes of KV cache; None is no limit but the context.
        num_threads: Threads of one operator; None is ONNX Runtime's choice (all cores).

    Raises:
        OptionError: A limit is impossible.
        ProviderError: The provider is not available.
        ModelFolderError: The graph cannot be loaded or is not a decoder.
    """

    def __init__(
        self,
        folder: ModelFolder,
        *,
        provider: str = "auto",
        device_id: int = 0,
        max_context: int | None = None,
        max_batch: int | None = None,
        kv_cache_bytes: int | None = None,
        num_threads: int | None = None,
    ) -> None:
        self.context_length = _limit("max_context", max_context, folder.decoder.context_length)
        self.max_batch = DEFAULT_MAX_BATCH if max_batch is None else _limit("max_batch", max_batch, None)
        self._session, self._prompts = open_sessions(
            folder, provider=provider, device_id=device_id, num_threads=num_threads
        )
        graph = self._session.graph
        shape = CacheShape(
            tensors=tuple(port.tensor for port in graph.cache),
            max_capacity=self.context_length,
            max_slots=self.max_batch,
            max_bytes=kv_cache_bytes,
        )
        if not shape.fits(1, 1):
            raise OptionError(f"kv_cache_bytes={kv_cache_bytes} holds not even one token of this model")
        self.cache = KVCache(shape, self._session.device)
        self.vocab_size = graph.vocab_size
        self.provider = self._session.provider.name
        attributes = folder.manifest.attributes if folder.manifest else {}
        self.rope_switch_length: int | None = attributes.get("rope_switch_length", graph.rope_switch_length)
        # Where both tables lie in one, the second begins at the switch; where the graph chooses, it is told which.
        self._second_table = 0 if graph.rope_switch_length else self.rope_switch_length or 0
        self._rows = StepBuffers(
            graph, self._session.device, rows=self.max_batch, tokens=self.max_batch, num_logits=1
        )
        self._chunks: dict[int, StepBuffers] = {}
        self._growing = [(place, port) for place, port in enumerate(graph.cache) if port.grows]
        self._arenas: dict[int, GrowingCache] = {}
        self._takes_any_rows, self._is_stable = graph.takes_any_rows, graph.is_stable
        self._bound: dict[tuple[int, int, int], Binding] = {}
        self._bound_epoch = -1

    @property
    def can_pad(self) -> bool:
        """Whether prompts of different lengths may prefill together, the shorter ones padded.

        A state would take in the padding.
        """
        return self.cache.can_truncate

    def variant_for(self, length: int) -> int:
        """Return which of the model's position tables a sequence of this length uses (`Slot.variant`)."""
        return int(self.rope_switch_length is not None and length > self.rope_switch_length)

    def prefill(self, slots: Sequence[Slot], rows: Sequence[Sequence[int]]) -> None:
        """Append tokens to slots; no logits are computed.

        Several slots must be empty and neighbours; they run together, the shorter rows padded to the longest.
        """
        assert len(slots) == 1 or not any(slot.token_ids for slot in slots)
        assert [slot.index for slot in slots] == list(range(slots[0].index, slots[0].index + len(slots)))
        for run in _runs(slots, self._prompts.graph):
            self._prefill(slots[run], rows[run])

    def score(self, slot: Slot, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Append tokens to a slot and return the logits at each of them, float32 [len(token_ids), vocab]."""
        graph = self._prompts.graph
        one_by_one = graph.last_logits_only or graph.max_positions == 1 or "use_cache_branch" in graph.feeds
        size = 1 if one_by_one else SCORE_CHUNK
        logits = np.empty((len(token_ids), self.vocab_size), np.float32)
        for start in range(0, len(token_ids), size):
            chunk = token_ids[start : start + size]
            buffers = self._append([slot], [chunk], num_logits=size)
            logits[start : start + len(chunk)] = buffers.logits(1, len(chunk))[0]
        return logits

    def decode(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Append one token to each of the first `len(token_ids)` slots and return their logits.

        Returns:
            float32 [rows, vocab], valid until the next call.
        """
        slots = self.cache.slots[: len(token_ids)]
        if self._takes_any_rows:
            return self._decode(slots, token_ids)
        runs = _runs(slots, self._session.graph)
        used = {PROMPTS, *(run.start for run in runs)}
        self._arenas = {place: arena for place, arena in self._arenas.items() if place in used}
        logits = np.empty((len(token_ids), self.vocab_size), np.float32)
        for run in runs:
            logits[run] = self._decode(slots[run], token_ids[run])
        return logits

    def _prefill(self, slots: Sequence[Slot], rows: Sequence[Sequence[int]]) -> None:
        """Append tokens to slots that may run together."""
        graph = self._prompts.graph
        if graph.max_positions == 1:
            for slot, row in zip(slots, rows, strict=True):
                for token_id in row:
                    self._append([slot], [[token_id]], num_logits=0)
        elif "use_cache_branch" in graph.feeds and slots[0].token_ids and len(rows[0]) > 1:
            # Its branch with a cache was made for single tokens: the prompt runs from its beginning, without one.
            whole = [*slots[0].token_ids, *rows[0]]
            self.cache.truncate(slots[0], 0)
            self._append(slots, [whole], num_logits=0)
        elif any(rows):
            self._append(slots, rows, num_logits=0)

    def _decode(self, slots: Sequence[Slot], token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Append one token to each of some neighbouring slots that may run together."""
        num_rows = len(token_ids)
        past = [len(slot.token_ids) for slot in slots]
        buffers = self._rows
        arena = self._arena(slots[0].index) if self._growing else None
        buffers.write(
            token_ids,
            past,
            past,
            first_positions=self._first_positions(slots, past),
            staged=arena.stage(slots, 1) if arena else 0,
            is_long=slots[0].variant == 1,
        )
        _run(self._decode_binding(slots, self.cache.align(slots), arena))
        if arena:
            arena.collect(slots, [1] * num_rows, 1)
        self.cache.flip(slots)
        for slot, token_id in zip(slots, token_ids, strict=True):
            slot.token_ids.append(token_id)
        return buffers.logits(num_rows, 1)[:, 0]

    def _append(
        self, slots: Sequence[Slot], rows: Sequence[Sequence[int]], *, num_logits: int
    ) -> StepBuffers:
        """Run a chunk of tokens for each slot; return the buffers that hold the logits of the last `num_logits`."""
        longest = max(len(row) for row in rows)
        buffers = self._chunk_buffers(len(rows) * longest, num_logits)
        arena = self._arena(PROMPTS) if self._growing else None
        past = [len(slot.token_ids) for slot in slots]
        buffers.write(
            [token_id for row in rows for token_id in (*row, *[0] * (longest - len(row)))],
            past,
            [before + len(row) - 1 for before, row in zip(past, rows, strict=True)],
            first_positions=self._first_positions(slots, past),
            staged=arena.stage(slots, longest) if arena else 0,
            is_long=slots[0].variant == 1,
        )
        binding = self._bind(self._prompts, buffers, slots, longest, self.cache.align(slots), arena)
        _run(binding)
        if arena:
            arena.collect(slots, [len(row) for row in rows], longest)
        self.cache.flip(slots)
        for slot, row in zip(slots, rows, strict=True):
            slot.token_ids.extend(row)
        return buffers

    def _arena(self, place: int) -> GrowingCache:
        """Return what stages a cache that grows: each run of a decoding step has one of its own, and prompts do."""
        if place not in self._arenas:
            self._arenas[place] = GrowingCache(self._growing, self.cache, self._session.device)
        return self._arenas[place]

    def _first_positions(self, slots: Sequence[Slot], past: Sequence[int]) -> Sequence[int]:
        """Return the row of the position table that each slot's next token uses."""
        if not self._second_table:
            return past
        return [before + self._second_table * slot.variant for slot, before in zip(slots, past, strict=True)]

    def _chunk_buffers(self, num_tokens: int, num_logits: int) -> StepBuffers:
        """Return buffers for so many tokens; they are kept, and grow when more are wanted."""
        buffers = self._chunks.get(num_logits)
        if buffers is None or buffers.max_tokens < num_tokens:
            buffers = self._chunks[num_logits] = StepBuffers(
                self._prompts.graph,
                self._prompts.device,
                rows=self.max_batch if num_logits == 0 else 1,
                tokens=num_tokens,
                num_logits=num_logits,
            )
        return buffers

    def _decode_binding(self, slots: Sequence[Slot], side: int, arena: GrowingCache | None) -> Binding:
        """Return the binding for some rows, made anew only after the cache has moved (or if it must be)."""
        if not self._is_stable:
            return self._bind(self._session, self._rows, slots, 1, side, arena)
        if self._bound_epoch != self.cache.epoch or self._session.provider.copies_at_bind:
            self._bound.clear()
            self._bound_epoch = self.cache.epoch
        key = (slots[0].index, len(slots), side)
        if key not in self._bound:
            self._bound[key] = self._bind(self._session, self._rows, slots, 1, side, arena)
        return self._bound[key]

    def _bind(
        self,
        session: DecoderSession,
        buffers: StepBuffers,
        slots: Sequence[Slot],
        num_positions: int,
        side: int,
        arena: GrowingCache | None,
    ) -> Binding:
        """Bind a run that reads the states of one side and writes those of the other."""
        binding = session.bind()
        first, num_rows = slots[0].index, len(slots)
        buffers.bind(binding, rows=num_rows, positions=num_positions)
        for place, port in enumerate(session.graph.cache):
            if not port.grows:
                shape = port.shape(num_rows, self.cache.capacity)
                past, present = (
                    self.cache.sides[at][place].rows(first, num_rows).shaped(shape) for at in (side, 1 - side)
                )
                binding.input(port.past, past)
                binding.output(port.present, present)
        if arena:
            arena.bind(binding, rows=num_rows, num_new=num_positions)
        return binding


def _runs(slots: Sequence[Slot], graph: GraphInterface) -> list[slice]:
    """Split neighbouring slots into those that may run together."""
    if graph.takes_any_rows:
        return [slice(0, len(slots))]
    by_length = not graph.takes_ragged_rows
    by_variant = graph.rope_switch_length is not None
    runs: list[slice] = []
    previous = None
    for row, slot in enumerate(slots):
        kind = (len(slot.token_ids) if by_length else 0, slot.variant if by_variant else 0)
        is_full = bool(runs) and graph.max_rows is not None and row - runs[-1].start >= graph.max_rows
        if kind != previous or is_full:
            runs.append(slice(row, row))
        runs[-1] = slice(runs[-1].start, row + 1)
        previous = kind
    return runs


def _limit(name: str, value: int | None, limit: int | None) -> int:
    """Return a limit that a user may lower."""
    if value is None:
        assert limit is not None
        return limit
    if value < 1 or (limit is not None and value > limit):
        bounds = "at least 1" + (
            f" and at most {limit}, the model's context length" if limit is not None else ""
        )
        raise OptionError(f"{name} must be {bounds}, not {value}")
    return value


def _run(binding: Binding) -> None:
    try:
        binding.run()
    except RUN_ERRORS as error:
        raise GenerationError(f"ONNX Runtime failed to run the model: {error}") from error
