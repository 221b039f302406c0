"""The small buffers that change from step to step: token ids, lengths, positions in; logits out.

On the host a buffer and the array that Python writes are the same memory; on an accelerator `write` and `logits`
carry the bytes over. Nothing here is allocated per step, but for a mask that has to grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from genai.cache import Device
from genai.graph.names import (
    ATTENTION_MASK,
    CACHE_POSITION,
    INPUT_IDS,
    LOGITS,
    NUM_LOGITS_TO_KEEP,
    PAST_SEQUENCE_LENGTH,
    POSITION_IDS,
    SEQLENS_K,
    TOTAL_SEQUENCE_LENGTH,
    USE_CACHE_BRANCH,
    USE_LONG_ROPE,
)
from genai.runtime.graph_interface import GraphInterface
from genai.runtime.session import Binding

__all__ = ["StepBuffers"]


class Mirror:
    """A host array and the device buffer of the same content; one memory where the host can reach the device's."""

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.buffer = device.allocate(shape, dtype)
        view = device.host_view(self.buffer)
        self._device = None if view is not None else device
        self.array: npt.NDArray[Any] = np.zeros(shape, dtype) if view is None else view

    def upload(self) -> None:
        """Make the device see what was written to the array."""
        if self._device is not None:
            self._device.copy_in(self.array, self.buffer)

    def download(self, rows: int) -> npt.NDArray[Any]:
        """Return the first rows of what the device wrote."""
        array = self.array[:rows]
        if self._device is not None:
            self._device.copy_out(self.buffer.rows(0, rows), array)
        return array


class StepBuffers:
    """Inputs and outputs of steps of up to `rows` sequences and `tokens` tokens in all.

    A step computes logits at as many of the last positions of every row as it is bound for, or at those where the graph
    leaves no choice: of up to `rows` rows one each, of one row up to `chunk_logits`. There is a buffer for each input that
    the graph has, and for no other:

    - `input_ids`, `position_ids`: flat, [tokens]; a step of r rows by p positions uses their first r * p elements;
    - `seqlens_k`: [rows], a row's length after the step, less one;
    - `attention_mask`: [rows, width], made longer as needed;
    - scalars, which ONNX Runtime reads on the host, whatever the device.
    """

    def __init__(
        self,
        graph: GraphInterface,
        device: Device,
        *,
        rows: int,
        tokens: int,
        chunk_logits: int | None = None,
    ) -> None:
        self._graph = graph
        self._device = device
        shapes = {
            INPUT_IDS: tokens,
            POSITION_IDS: tokens,
            CACHE_POSITION: tokens,
            SEQLENS_K: rows,
            ATTENTION_MASK: 1,
        }
        self._feeds = {
            name: Mirror(device, (size,), graph.feeds[name].dtype)
            for name, size in shapes.items()
            if name in graph.feeds
        }
        self._scalars = {
            name: np.zeros((1,) * feed.rank, feed.dtype)
            for name, feed in graph.feeds.items()
            if name not in shapes
        }
        self.max_tokens = tokens
        self.max_logits = rows if chunk_logits is None else chunk_logits
        self._logits = Mirror(device, (self._most_logits(rows), graph.vocab_size), graph.logits_dtype)
        self._input_ids = self._feeds[INPUT_IDS].array
        self._seqlens_k = self._array(SEQLENS_K)
        self._position_ids = self._array(POSITION_IDS)
        self._total_sequence_length = self._scalars.get(TOTAL_SEQUENCE_LENGTH)
        # What only graphs without shared buffers want, and is written in a second pass.
        self._is_plain = self._feeds.keys() <= {INPUT_IDS, SEQLENS_K, POSITION_IDS} and (
            self._scalars.keys() <= {TOTAL_SEQUENCE_LENGTH, NUM_LOGITS_TO_KEEP}
        )
        self._mask_width = 0

    def write(
        self,
        token_ids: Sequence[int],
        past: Sequence[int],
        last: Sequence[int],
        *,
        first_positions: Sequence[int],
        staged: int = 0,
        is_long: bool = False,
    ) -> None:
        """Write the inputs of a step.

        Args:
            token_ids: Row by row, every row as long as the longest.
            past: Tokens of each row before the step.
            last: Tokens of each row after the step, less one.
            first_positions: Row of the position table that each row's first token uses.
            staged: Positions of the past of a cache that grows, to which every row is padded on the left.
            is_long: Whether the rows use the second table of positions.
        """
        rows, count = len(past), len(token_ids)
        width = count // rows
        self._input_ids[:count] = token_ids
        if self._seqlens_k is not None:
            self._seqlens_k[:rows] = last
        if self._total_sequence_length is not None:
            self._total_sequence_length[...] = max(last) + 1
        if self._position_ids is not None:
            if width > 1:
                positions = np.array(first_positions)[:, None] + np.arange(width)
                self._position_ids[:count] = positions.reshape(-1)
            else:
                self._position_ids[:count] = first_positions
        if not self._is_plain:
            self._write_others(past, last, width=width, staged=staged, is_long=is_long)
        for feed in self._feeds.values():
            feed.upload()

    def bind(self, binding: Binding, *, rows: int, positions: int, num_logits: int) -> None:
        """Bind the first `rows` rows of every input, and the logits of the last `num_logits` positions of each."""
        shapes = {
            SEQLENS_K: (rows, 1)[: self._rank(SEQLENS_K)],
            CACHE_POSITION: (positions,),
            ATTENTION_MASK: (rows, self._mask_width),
        }
        for name, feed in self._feeds.items():
            binding.input(name, feed.buffer.shaped(shapes.get(name, (rows, positions))), self._device)
        num_logits = self._num_computed(positions, num_logits)
        if self._graph.keeps_logits:
            self._scalars[NUM_LOGITS_TO_KEEP][...] = num_logits
        for name, scalar in self._scalars.items():
            binding.host_input(name, scalar)
        logits = self._logits.buffer.shaped((rows, num_logits, self._graph.vocab_size))
        binding.output(LOGITS, logits, self._device)

    def logits(self, rows: int, positions: int, num_logits: int) -> npt.NDArray[np.float32]:
        """Return what a step was bound for, float32 [rows, num_logits, vocab]; valid until the next step."""
        if not num_logits:
            return np.empty((rows, 0, self._graph.vocab_size), np.float32)
        num_computed = self._num_computed(positions, num_logits)
        logits = self._logits.download(rows * num_computed).reshape(
            rows, num_computed, self._graph.vocab_size
        )
        logits = logits[:, num_computed - num_logits :]
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    def _write_others(
        self, past: Sequence[int], last: Sequence[int], *, width: int, staged: int, is_long: bool
    ) -> None:
        scalars = {
            PAST_SEQUENCE_LENGTH: max(past),
            USE_CACHE_BRANCH: max(past) > 0,
            USE_LONG_ROPE: is_long,
        }
        for name in scalars.keys() & self._scalars.keys():
            self._scalars[name][...] = scalars[name]
        if CACHE_POSITION in self._feeds:
            self._feeds[CACHE_POSITION].array[:width] = past[0] + np.arange(width)
        if ATTENTION_MASK in self._feeds:
            self._write_mask(past, last, width=max(staged + width, max(last) + 1), staged=staged)

    def _write_mask(self, past: Sequence[int], last: Sequence[int], *, width: int, staged: int) -> None:
        """Hide what lies before a row in a cache that grows, and behind it everywhere."""
        mask = self._feeds[ATTENTION_MASK]
        if mask.array.size < len(past) * width:
            size = 2 * len(past) * width
            mask = self._feeds[ATTENTION_MASK] = Mirror(self._device, (size,), mask.array.dtype)
        rows = mask.array[: len(past) * width].reshape(len(past), width)
        rows[...] = 0
        for row, before, after in zip(rows, past, last, strict=True):
            first = max(staged - before, 0)
            row[first : first + after + 1] = 1
        self._mask_width = width

    def _array(self, name: str) -> npt.NDArray[Any] | None:
        return self._feeds[name].array if name in self._feeds else None

    def _rank(self, name: str) -> int:
        return self._graph.feeds[name].rank if name in self._graph.feeds else 0

    def _most_logits(self, rows: int) -> int:
        """Return how many rows of logits a step may give."""
        if self._graph.last_logits_only:
            return rows
        if self._graph.keeps_logits:
            return max(self.max_logits, 1 if self._graph.can_keep_none else rows)
        return max(self.max_tokens, 1)

    def _num_computed(self, positions: int, num_logits: int) -> int:
        """Return how many logits per row the graph computes if it is asked for so many."""
        if self._graph.last_logits_only:
            return 1
        if not self._graph.keeps_logits:
            return positions
        return num_logits if self._graph.can_keep_none else max(num_logits, 1)
