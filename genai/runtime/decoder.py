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
PREFILL_CHUNK = 512
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
        self._rows = self._buffers(rows=self.max_batch, positions=1, num_logits=1)
        self._chunk = self._buffers(rows=1, positions=PREFILL_CHUNK, num_logits=0)
        self._bound: dict[int, Binding] = {}
        self._bound_epoch = -1

    def variant_for(self, length: int) -> int:
        """Return which of the model's position tables a sequence of this length uses (`Slot.variant`)."""
        return int(self.rope_switch_length is not None and length > self.rope_switch_length)

    def prefill(self, slot: Slot, token_ids: Sequence[int]) -> None:
        """Append tokens to a slot; no logits are computed."""
        for start in range(0, len(token_ids), PREFILL_CHUNK):
            self._append(slot, token_ids[start : start + PREFILL_CHUNK], self._chunk)

    def score(self, slot: Slot, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Append tokens to a slot and return the logits at each of them, float32 [len(token_ids), vocab]."""
        logits = np.empty((len(token_ids), self.vocab_size), np.float32)
        for start in range(0, len(token_ids), SCORE_CHUNK):
            chunk = token_ids[start : start + SCORE_CHUNK]
            buffers = self._buffers(rows=1, positions=len(chunk), num_logits=len(chunk))
            self._append(slot, chunk, buffers)
            logits[start : start + len(chunk)] = buffers.logits(1)[0]
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
        buffers.input_ids[:num_rows, 0] = token_ids
        buffers.seqlens_k[:num_rows] = lengths
        buffers.total_sequence_length[...] = max(lengths) + 1
        if buffers.position_ids is not None:
            buffers.position_ids[:num_rows, 0] = [self._position(slot) for slot in slots]
        buffers.upload()
        _run(self._decode_binding(num_rows))
        for slot, token_id in zip(slots, token_ids, strict=True):
            slot.token_ids.append(token_id)
        return buffers.logits(num_rows)[:, 0]

    def _append(self, slot: Slot, token_ids: Sequence[int], buffers: StepBuffers) -> None:
        past, count = len(slot.token_ids), len(token_ids)
        buffers.input_ids[0, :count] = token_ids
        buffers.seqlens_k[0] = past + count - 1
        buffers.total_sequence_length[...] = past + count
        if buffers.position_ids is not None:
            first = self._position(slot)
            buffers.position_ids[0, :count] = range(first, first + count)
        buffers.upload()
        _run(self._bind(buffers, first_slot=slot.index, num_rows=1, num_positions=count))
        slot.token_ids.extend(token_ids)

    def _position(self, slot: Slot) -> int:
        """Return the row of the position table that a slot's next token uses."""
        return len(slot.token_ids) + (self.rope_switch_length or 0) * slot.variant

    def _buffers(self, *, rows: int, positions: int, num_logits: int) -> StepBuffers:
        graph = self._session.graph
        if not graph.keeps_logits:
            num_logits = positions
        return StepBuffers(graph, self._session.device, rows=rows, positions=positions, num_logits=num_logits)

    def _decode_binding(self, num_rows: int) -> Binding:
        """Return the binding for so many rows, made anew only after the cache has moved."""
        if self._bound_epoch != self.cache.epoch:
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
