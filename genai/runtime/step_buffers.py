"""The small buffers that change from step to step: token ids, lengths, positions in; logits out.

On the host a buffer and the array that Python writes are the same memory; on an accelerator `write` and `logits`
carry the bytes over. Nothing here is allocated per step, but for a mask that has to grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genai.cache import Buffer, Device
from genai.graph.names import (
    ATTENTION_MASK,
    BEST_IDS,
    CACHE_POSITION,
    INPUT_IDS,
    LOGIT_POSITIONS,
    LOGITS,
    NUM_LOGITS_TO_KEEP,
    PAST_SEQUENCE_LENGTH,
    POSITION_IDS,
    SEQLENS_K,
    TOTAL_SEQUENCE_LENGTH,
    USE_CACHE_BRANCH,
    USE_LONG_ROPE,
)
from genai.runtime.binding import Binding
from genai.runtime.devices import ALIGNMENT_BYTES
from genai.runtime.graph_interface import GraphInterface

__all__ = ["StepBuffers"]


class Mirror:
    """A host array and the device buffer of the same content; one memory where the host can reach the device's.

    Args:
        device: The device.
        shape: Their shape.
        dtype: Their element type.
        is_input: Whether every step copies it in.
    """

    def __init__(
        self, device: Device, shape: tuple[int, ...], dtype: npt.DTypeLike, *, is_input: bool = False
    ) -> None:
        self.buffer = device.allocate(shape, dtype)
        view = device.host_view(self.buffer)
        self._device = None if view is not None else device
        new_array = device.host_array if is_input else np.zeros
        self.array: npt.NDArray[Any] = new_array(shape, dtype) if view is None else view

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


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a mirrored buffer that is one input."""

    buffer: Buffer
    array: npt.NDArray[Any]


def _divide(memory: Mirror, feeds: Mapping[str, tuple[int, np.dtype[Any]]]) -> dict[str, _Part]:
    """Lay inputs of so many elements one behind the other, so that one copy carries all of them."""
    parts, start = {}, 0
    for name, (size, dtype) in feeds.items():
        whole = memory.buffer
        buffer = Buffer((size,), dtype, whole.address + start, whole.owner)
        parts[name] = _Part(buffer, memory.array[start : start + buffer.nbytes].view(dtype))
        start += _aligned(buffer.nbytes)
    return parts


def _aligned(num_bytes: int) -> int:
    return num_bytes + -num_bytes % ALIGNMENT_BYTES


class StepBuffers:
    """Inputs and outputs of steps of up to `rows` sequences and `tokens` tokens in all.

    A step computes logits at as many of the last positions of every row as it is bound for, or at those where the graph
    leaves no choice: of up to `rows` rows one each, of one row up to `chunk_logits`. There is a buffer for each input that
    the graph has, and for no other:

    - `logit_positions`: [num_logits], the same for every row;
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
        sizes = dict.fromkeys((INPUT_IDS, POSITION_IDS, CACHE_POSITION, LOGIT_POSITIONS), tokens)
        sizes[SEQLENS_K] = rows
        feeds = {name: (size, graph.feeds[name].dtype) for name, size in sizes.items() if name in graph.feeds}
        num_bytes = sum(_aligned(size * dtype.itemsize) for size, dtype in feeds.values())
        self._memory = Mirror(device, (num_bytes,), np.uint8, is_input=True)
        self._feeds = _divide(self._memory, feeds)
        self._mask = (
            Mirror(device, (1,), graph.feeds[ATTENTION_MASK].dtype) if ATTENTION_MASK in graph.feeds else None
        )
        self._scalars = {
            name: np.zeros((1,) * feed.rank, feed.dtype)
            for name, feed in graph.feeds.items()
            if name not in (*sizes, ATTENTION_MASK)
        }
        self.max_tokens = tokens
        self.max_logits = rows if chunk_logits is None else chunk_logits
        most_logits = self._most_logits(rows)
        self._logits = Mirror(device, (most_logits, graph.vocab_size), graph.logits_dtype)
        self._best_ids = Mirror(device, (most_logits,), np.int64) if graph.gives_best_ids else None
        self._input_ids = self._feeds[INPUT_IDS].array
        self._seqlens_k = self._array(SEQLENS_K)
        self._position_ids = self._array(POSITION_IDS)
        self._total_sequence_length = self._scalars.get(TOTAL_SEQUENCE_LENGTH)
        # What only graphs without shared buffers want, and is written in a second pass.
        self._is_plain = (
            self._mask is None
            and CACHE_POSITION not in self._feeds
            and self._scalars.keys() <= {TOTAL_SEQUENCE_LENGTH, NUM_LOGITS_TO_KEEP}
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
        total_length: int | None = None,
    ) -> None:
        """Write the inputs of a step.

        Args:
            token_ids: Row by row, every row as long as the longest.
            past: Tokens of each row before the step.
            last: Tokens of each row after the step, less one.
            first_positions: Row of the position table that each row's first token uses.
            staged: Positions of the past of a cache that grows, to which every row is padded on the left.
            is_long: Whether the rows use the second table of positions.
            total_length: What the graph is told to be the longest row's length after the step; `None` is what it is. A
                run that is recorded has it frozen, so that it is told the most that any row can have.
        """
        rows, count = len(past), len(token_ids)
        width = count // rows
        self._input_ids[:count] = token_ids
        if self._seqlens_k is not None:
            self._seqlens_k[:rows] = last
        if self._total_sequence_length is not None:
            self._total_sequence_length[...] = total_length or max(last) + 1
        if self._position_ids is not None:
            if width > 1:
                positions = np.array(first_positions)[:, None] + np.arange(width)
                self._position_ids[:count] = positions.reshape(-1)
            else:
                self._position_ids[:count] = first_positions
        if not self._is_plain:
            self._write_others(past, last, width=width, staged=staged, is_long=is_long)
        self._memory.upload()

    def bind(self, binding: Binding, *, rows: int, positions: int, num_logits: int) -> None:
        """Bind the first `rows` rows of every input, and the logits of the last `num_logits` positions of each."""
        self.select_logits(positions, num_logits)
        if LOGIT_POSITIONS in self._feeds:
            self._memory.upload()
        num_logits = self._num_computed(positions, num_logits)
        shapes = {
            SEQLENS_K: (rows, 1)[: self._rank(SEQLENS_K)],
            CACHE_POSITION: (positions,),
            LOGIT_POSITIONS: (num_logits,),
        }
        for name, feed in self._feeds.items():
            binding.input(name, feed.buffer.shaped(shapes.get(name, (rows, positions))), self._device)
        if self._mask is not None:
            binding.input(ATTENTION_MASK, self._mask.buffer.shaped((rows, self._mask_width)), self._device)
        for name, scalar in self._scalars.items():
            binding.host_input(name, scalar)
        if self._graph.gives_logits:
            logits = self._logits.buffer.shaped((rows, num_logits, self._graph.vocab_size))
            binding.output(LOGITS, logits, self._device)
        if self._best_ids is not None:
            binding.output(BEST_IDS, self._best_ids.buffer.shaped((rows, num_logits)), self._device)

    def select_logits(self, positions: int, num_logits: int) -> None:
        """Have the next step compute the logits of the last `num_logits` positions, as `bind` does.

        Needed where bindings of different numbers are run in turns; `write` carries it over.
        """
        num_logits = self._num_computed(positions, num_logits)
        if LOGIT_POSITIONS in self._feeds:
            self._feeds[LOGIT_POSITIONS].array[:num_logits] = np.arange(positions - num_logits, positions)
        if NUM_LOGITS_TO_KEEP in self._scalars:
            self._scalars[NUM_LOGITS_TO_KEEP][...] = num_logits

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

    def best_ids(self, rows: int) -> list[int]:
        """Return the id of the greatest logit of each row of a step that was bound for one position, -1 if not finite."""
        assert self._best_ids is not None, "the graph chooses"
        ids: list[int] = self._best_ids.download(rows).tolist()
        return ids

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
        if self._mask is not None:
            self._write_mask(self._mask, past, last, width=max(staged + width, max(last) + 1), staged=staged)

    def _write_mask(
        self, mask: Mirror, past: Sequence[int], last: Sequence[int], *, width: int, staged: int
    ) -> None:
        """Hide what lies before a row in a cache that grows, and behind it everywhere."""
        if mask.array.size < len(past) * width:
            mask = self._mask = Mirror(self._device, (2 * len(past) * width,), mask.array.dtype)
        rows = mask.array[: len(past) * width].reshape(len(past), width)
        rows[...] = 0
        for row, before, after in zip(rows, past, last, strict=True):
            first = max(staged - before, 0)
            row[first : first + after + 1] = 1
        mask.upload()
        self._mask_width = width

    def _array(self, name: str) -> npt.NDArray[Any] | None:
        return self._feeds[name].array if name in self._feeds else None

    def _rank(self, name: str) -> int:
        return self._graph.feeds[name].rank if name in self._graph.feeds else 0

    def _most_logits(self, rows: int) -> int:
        """Return how many rows of logits a step may give."""
        if not self._graph.gives_logits:
            return 0
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
