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
    """Inputs and outputs of a step of up to `rows` sequences by `positions` tokens, with `num_logits` each.

    `input_ids` and `position_ids` are [rows, positions], `seqlens_k` is [rows] (a row's length after the step, less
    one), `total_sequence_length` is the greatest of those lengths.
    """

    def __init__(
        self, graph: GraphInterface, device: Device, *, rows: int, positions: int, num_logits: int
    ) -> None:
        self.num_logits = num_logits
        self.positions = positions
        self._graph = graph
        self._feeds = {
            name: Mirror(
                device, (rows,) if name == "seqlens_k" else (rows, positions), graph.feeds[name].dtype
            )
            for name in ("input_ids", "seqlens_k", "position_ids")
            if name in graph.feeds
        }
        self._logits = Mirror(device, (rows, max(num_logits, 1), graph.vocab_size), graph.logits_dtype)
        self.input_ids = self._feeds["input_ids"].array
        self.seqlens_k = self._feeds["seqlens_k"].array
        self.position_ids = self._feeds["position_ids"].array if "position_ids" in graph.feeds else None
        # Operands that ONNX Runtime reads on the host, whatever the device.
        self.total_sequence_length = np.zeros((), graph.feeds["total_sequence_length"].dtype)
        keep = graph.feeds.get("num_logits_to_keep")
        self._keep = np.full((1,) * keep.rank, num_logits, keep.dtype) if keep else None

    def upload(self) -> None:
        """Make the device see what was written to the inputs."""
        for feed in self._feeds.values():
            feed.upload()

    def bind(self, binding: Binding, *, rows: int, positions: int) -> None:
        """Bind the first `rows` rows of every input and of the logits."""
        for name, feed in self._feeds.items():
            binding.input(name, feed.shaped((rows,) if name == "seqlens_k" else (rows, positions)))
        binding.host_input("total_sequence_length", self.total_sequence_length)
        if self._keep is not None:
            binding.host_input("num_logits_to_keep", self._keep)
        binding.output("logits", self._logits.shaped((rows, min(self.num_logits, positions), self._graph.vocab_size)))

    def logits(self, rows: int) -> npt.NDArray[np.float32]:
        """Return what the step computed, float32 [rows, num_logits, vocab]; valid until the next step."""
        logits = self._logits.download(rows)[:, : self.num_logits]
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)
