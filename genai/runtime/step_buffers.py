"""The small buffers that change from step to step: token ids, lengths, positions in; logits out.

On the host a buffer and the array that Python writes are the same memory; on an accelerator `upload` and `logits`
carry the bytes over. Nothing here is allocated per step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from genai.cache import Buffer, Device
from genai.runtime.session import Binding, GraphInterface

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

    def shaped(self, shape: tuple[int, ...]) -> Buffer:
        """Return the buffer's beginning as a buffer of another shape."""
        return Buffer(shape, self.buffer.dtype, self.buffer.address, self.buffer.owner)


class StepBuffers:
    """Inputs and outputs of steps of up to `rows` sequences and `tokens` tokens in all.

    A step computes logits at the last `num_logits` positions of every row, or at all positions where the graph leaves
    no choice.

    `input_ids` and `position_ids` are flat, [tokens]: a step of r rows by p positions uses their first r * p elements.
    `seqlens_k` is [rows] (a row's length after the step, less one), `total_sequence_length` the greatest of those
    lengths.
    """

    def __init__(
        self, graph: GraphInterface, device: Device, *, rows: int, tokens: int, num_logits: int
    ) -> None:
        self._graph = graph
        self._num_logits = num_logits
        shapes = {"input_ids": (tokens,), "position_ids": (tokens,), "seqlens_k": (rows,)}
        self._feeds = {
            name: Mirror(device, shape, graph.feeds[name].dtype)
            for name, shape in shapes.items()
            if name in graph.feeds
        }
        most_logits = max(rows * num_logits, 1) if graph.keeps_logits else tokens
        self._logits = Mirror(device, (most_logits, graph.vocab_size), graph.logits_dtype)
        self.input_ids = self._feeds["input_ids"].array
        self.seqlens_k = self._feeds["seqlens_k"].array
        self.position_ids = self._feeds["position_ids"].array if "position_ids" in graph.feeds else None
        # Operands that ONNX Runtime reads on the host, whatever the device.
        self.total_sequence_length = np.zeros((), graph.feeds["total_sequence_length"].dtype)
        keep = graph.feeds.get("num_logits_to_keep")
        self._keep = np.zeros((1,) * keep.rank, keep.dtype) if keep else None

    def upload(self) -> None:
        """Make the device see what was written to the inputs."""
        for feed in self._feeds.values():
            feed.upload()

    def bind(self, binding: Binding, *, rows: int, positions: int) -> None:
        """Bind the first `rows` rows of every input and of the logits."""
        for name, feed in self._feeds.items():
            binding.input(name, feed.shaped((rows,) if name == "seqlens_k" else (rows, positions)))
        binding.host_input("total_sequence_length", self.total_sequence_length)
        num_logits = self._num_logits_of(positions)
        if self._keep is not None:
            self._keep[...] = num_logits
            binding.host_input("num_logits_to_keep", self._keep)
        binding.output("logits", self._logits.shaped((rows, num_logits, self._graph.vocab_size)))

    def logits(self, rows: int, positions: int) -> npt.NDArray[np.float32]:
        """Return what the step computed, float32 [rows, logits, vocab]; valid until the next step."""
        num_logits = self._num_logits_of(positions)
        logits = self._logits.download(rows * num_logits).reshape(rows, num_logits, -1)
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    def _num_logits_of(self, positions: int) -> int:
        return min(self._num_logits, positions) if self._graph.keeps_logits else positions
