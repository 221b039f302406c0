"""A decoder's head in 8 bits, for the batches that a graph in 8 bits decodes.

Whoever runs one sequence never needs it, and it is the largest matrix of a small model. So it is made when the first batch
comes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from genai.errors import GenerationError
from genai.folder import DecoderConfig
from genai.graph.names import LOGITS
from genai.runtime.adapt import HIDDEN_STATES, EightBitMatrix, head_of, to_eight_bit_products
from genai.runtime.binding import AddressBinding, Binding, run
from genai.runtime.devices import HostDevice
from genai.runtime.eight_bit_weights import with_eight_bit_weights
from genai.runtime.ort import RUN_ERRORS, onnxruntime
from genai.runtime.session_options import WEIGHTS_FOLDER, YIELDS, session_options

__all__ = ["EightBitHead"]

OPEN_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError, MemoryError, *RUN_ERRORS)


class EightBitHead:
    """The head of a graph in 8 bits, which `open` makes.

    Args:
        model: From hidden states to logits, with products of 8 bits.
        matrices: What these read.
        weights: The folder that the names of their weights count from.
        decoder: The folder's configuration, for the options of sessions.
        num_threads: Threads of an operator; `None` is the folder's choice, else ONNX Runtime's.
    """

    def __init__(
        self,
        model: ModelProto,
        matrices: list[EightBitMatrix],
        weights: Path,
        *,
        decoder: DecoderConfig,
        num_threads: int | None,
    ) -> None:
        self._model, self._matrices, self._weights = model, matrices, weights
        self._decoder, self._num_threads = decoder, num_threads
        self._session: Any = None
        self._bound: dict[int, Binding] = {}
        self._device = HostDevice()

    @classmethod
    def of_graph(
        cls, graph: ModelProto, weights: Path, *, decoder: DecoderConfig, num_threads: int | None
    ) -> Self | None:
        """Return the head of a whole graph, which stays as it is; `None` if none is found that can be of 8 bits."""
        model = head_of(graph, hidden_size=decoder.hidden_size)
        matrices = to_eight_bit_products(model) if model is not None else []
        if model is None or not matrices:
            return None
        return cls(model, matrices, weights, decoder=decoder, num_threads=num_threads)

    def open(self, *, max_rows: int) -> None:
        """Make it, for so many rows at a time.

        Raises:
            GenerationError: Its weights cannot be read or written, or ONNX Runtime does not take it.
        """
        options = session_options(self._decoder)
        options.add_session_config_entry(YIELDS, "1")
        if self._num_threads is not None:
            options.intra_op_num_threads = self._num_threads
        try:
            with with_eight_bit_weights(self._model, self._matrices, weights=self._weights) as root:
                options.add_session_config_entry(WEIGHTS_FOLDER, str(root))
                self._session = onnxruntime.InferenceSession(
                    self._model.SerializeToString(), options, providers=["CPUExecutionProvider"]
                )
        except OPEN_ERRORS as error:
            raise GenerationError(f"batches cannot be decoded in 8 bits: {error}") from error
        (logits,) = self._session.get_outputs()
        self._hidden = self._device.allocate((max_rows, 1, self._decoder.hidden_size), np.float32)
        self._logits = self._device.allocate((max_rows, 1, logits.shape[-1]), np.float32)

    def logits_of(self, hidden_states: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the logits of hidden states [rows, hidden_size], float32 [rows, vocab]; valid until the next call.

        Raises:
            GenerationError: ONNX Runtime failed.
        """
        num_rows = len(hidden_states)
        self._device.host_view(self._hidden)[:num_rows, 0] = hidden_states
        if num_rows not in self._bound:
            binding = AddressBinding(self._session, None, is_repeated=False)
            binding.input(HIDDEN_STATES, self._hidden.rows(0, num_rows), self._device)
            binding.output(LOGITS, self._logits.rows(0, num_rows), self._device)
            self._bound[num_rows] = binding
        run(self._bound[num_rows])
        return self._device.host_view(self._logits)[:num_rows, 0]
