"""A loaded decoder: its session, its KV cache, and the few buffers that a step changes.

The three things it does: `prefill` appends tokens to one slot without computing logits, `decode` appends one token
to each of the first slots and returns their logits, `score` appends tokens to one slot and returns the logits of
all of them. Decoding binds once per number of rows; a step then writes some integers and runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from genai.cache import CacheShape, KVCache, Slot
from genai.errors import GenerationError, OptionError
from genai.folder import ModelFolder
from genai.runtime.ort import ORT_ERRORS
from genai.runtime.session import Binding, DecoderSession
from genai.runtime.step_buffers import StepBuffers

__all__ = ["Decoder"]

DEFAULT_MAX_BATCH = 16
SCORE_CHUNK = 64
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
        self._session = DecoderSession(
            folder, provider=provider, device_id=device_id, num_threads=num_threads
        )
        graph = self._session.graph
        shape = CacheShape(
            layers=tuple((layer.num_kv_heads, layer.head_dim) for layer in graph.layers),
            dtype=graph.cache_dtype,
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
        self.rope_switch_length: int | None = attributes.get("rope_switch_length")
        self._rows = self._buffers(rows=self.max_batch, tokens=self.max_batch, num_logits=1)
        self._chunks: dict[int, StepBuffers] = {}
        self._bound: dict[int, Binding] = {}
        self._bound_epoch = -1

    def variant_for(self, length: int) -> int:
        """Return which of the model's position tables a sequence of this length uses (`Slot.variant`)."""
        return int(self.rope_switch_length is not None and length > self.rope_switch_length)

    def prefill(self, slots: Sequence[Slot], rows: Sequence[Sequence[int]]) -> None:
        """Append tokens to slots; no logits are computed.

        Several slots must be empty and neighbours; they run together, the shorter rows padded to the longest.
        """
        assert len(slots) == 1 or not any(slot.token_ids for slot in slots)
        assert [slot.index for slot in slots] == list(range(slots[0].index, slots[0].index + len(slots)))
        if any(rows):
            self._append(slots, rows, num_logits=0)

    def score(self, slot: Slot, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Append tokens to a slot and return the logits at each of them, float32 [len(token_ids), vocab]."""
        logits = np.empty((len(token_ids), self.vocab_size), np.float32)
        for start in range(0, len(token_ids), SCORE_CHUNK):
            chunk = token_ids[start : start + SCORE_CHUNK]
            buffers = self._append([slot], [chunk], num_logits=SCORE_CHUNK)
            logits[start : start + len(chunk)] = buffers.logits(1, len(chunk))[0]
        return logits

    def decode(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Append one token to each of the first `len(token_ids)` slots and return their logits.

        Returns:
            float32 [rows, vocab], valid until the next call.
        """
        num_rows = len(token_ids)
        slots = self.cache.slots[:num_rows]
        buffers = self._rows
        lengths = [len(slot.token_ids) for slot in slots]
        buffers.input_ids[:num_rows] = token_ids
        buffers.seqlens_k[:num_rows] = lengths
        buffers.total_sequence_length[...] = max(lengths) + 1
        if buffers.position_ids is not None:
            buffers.position_ids[:num_rows] = [self._position(slot) for slot in slots]
        buffers.upload()
        _run(self._decode_binding(num_rows))
        for slot, token_id in zip(slots, token_ids, strict=True):
            slot.token_ids.append(token_id)
        return buffers.logits(num_rows, 1)[:, 0]

    def _append(
        self, slots: Sequence[Slot], rows: Sequence[Sequence[int]], *, num_logits: int
    ) -> StepBuffers:
        """Run a chunk of tokens for each slot; return the buffers that hold the logits of the last `num_logits`."""
        longest = max(len(row) for row in rows)
        buffers = self._chunk_buffers(len(rows) * longest, num_logits)
        shape = (len(rows), longest)
        lengths = [len(slot.token_ids) + len(row) for slot, row in zip(slots, rows, strict=True)]
        buffers.seqlens_k[: len(rows)] = [length - 1 for length in lengths]
        buffers.total_sequence_length[...] = max(lengths)
        input_ids = buffers.input_ids[: len(rows) * longest].reshape(shape)
        input_ids[...] = 0
        for padded, row in zip(input_ids, rows, strict=True):
            padded[: len(row)] = row
        if buffers.position_ids is not None:
            first = np.array([self._position(slot) for slot in slots])
            buffers.position_ids[: input_ids.size] = (first[:, None] + np.arange(longest)).reshape(-1)
        buffers.upload()
        _run(self._bind(buffers, first_slot=slots[0].index, num_rows=len(rows), num_positions=longest))
        for slot, row in zip(slots, rows, strict=True):
            slot.token_ids.extend(row)
        return buffers

    def _position(self, slot: Slot) -> int:
        """Return the row of the position table that a slot's next token uses."""
        return len(slot.token_ids) + (self.rope_switch_length or 0) * slot.variant

    def _chunk_buffers(self, num_tokens: int, num_logits: int) -> StepBuffers:
        """Return buffers for so many tokens; they are kept, and grow when more are wanted."""
        buffers = self._chunks.get(num_logits)
        if buffers is None or len(buffers.input_ids) < num_tokens:
            buffers = self._chunks[num_logits] = self._buffers(
                rows=self.max_batch if num_logits == 0 else 1, tokens=num_tokens, num_logits=num_logits
            )
        return buffers

    def _buffers(self, *, rows: int, tokens: int, num_logits: int) -> StepBuffers:
        return StepBuffers(
            self._session.graph, self._session.device, rows=rows, tokens=tokens, num_logits=num_logits
        )

    def _decode_binding(self, num_rows: int) -> Binding:
        """Return the binding for so many rows, made anew only after the cache has moved (or if it must be)."""
        if self._bound_epoch != self.cache.epoch or self._session.provider.copies_at_bind:
            self._bound.clear()
            self._bound_epoch = self.cache.epoch
        if num_rows not in self._bound:
            self._bound[num_rows] = self._bind(self._rows, first_slot=0, num_rows=num_rows, num_positions=1)
        return self._bound[num_rows]

    def _bind(self, buffers: StepBuffers, *, first_slot: int, num_rows: int, num_positions: int) -> Binding:
        binding = self._session.bind()
        buffers.bind(binding, rows=num_rows, positions=num_positions)
        for names, layer in zip(self._session.graph.layers, self.cache.layers, strict=True):
            key, value = layer.key.rows(first_slot, num_rows), layer.value.rows(first_slot, num_rows)
            binding.input(names.past_key, key)
            binding.input(names.past_value, value)
            binding.output(names.present_key, key)
            binding.output(names.present_value, value)
        return binding


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
