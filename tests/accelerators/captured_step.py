"""One decoding step as a graph that CUDA captures: what a runtime that replays it has to bind, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto

from genai.graph.names import NUM_LOGITS_TO_KEEP, TOTAL_SEQUENCE_LENGTH
from tests.accelerators.counters import Counts, counted

__all__ = ["replay_of_step"]

CAPACITY = 32
ON_HOST = {TOTAL_SEQUENCE_LENGTH: np.int32, NUM_LOGITS_TO_KEEP: np.int64}
"""Inputs that say how large values are, and their types."""
TYPES = {
    "tensor(int64)": TensorProto.INT64,
    "tensor(int32)": TensorProto.INT32,
    "tensor(int8)": TensorProto.INT8,
    "tensor(float)": TensorProto.FLOAT,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(bfloat16)": TensorProto.BFLOAT16,
}


def replay_of_step(session: Any, *, rows: int) -> Counts:
    """Capture a step of some rows, replay it, and return what the replay asked of CUDA.

    Args:
        session: A decoder's, made with `enable_cuda_graph`.
        rows: How many sequences it decodes.
    """
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(rows))
    binding, _values = _bound(session, rows)
    session.run_with_iobinding(binding, options)  # runs twice as it is, captures and launches
    with counted() as counts:
        session.run_with_iobinding(binding, options)
    return counts


def _bound(session: Any, rows: int) -> tuple[Any, list[Any]]:
    """A binding of all inputs and outputs, and their memory; keys and values are written where they are read."""
    binding = session.io_binding()
    values: dict[str, Any] = {}
    for port in session.get_inputs():
        if port.name in ON_HOST:
            number = np.asarray(CAPACITY if port.name == TOTAL_SEQUENCE_LENGTH else 1, ON_HOST[port.name])
            values[port.name] = ort.OrtValue.ortvalue_from_numpy(number.reshape((1,) * len(port.shape)))
        else:
            values[port.name] = _on_device(port, rows)
        binding.bind_ortvalue_input(port.name, values[port.name])
    for port in session.get_outputs():
        past = values.get(port.name.replace("present", "past_key_values"))
        grows = past is not None and not all(isinstance(size, int) for size in port.shape[1:])
        values[port.name] = past if grows else _on_device(port, rows)
        binding.bind_ortvalue_output(port.name, values[port.name])
    return binding, list(values.values())


def _on_device(port: Any, rows: int) -> Any:
    """New memory of an input or output: axes without a size are the rows, then one token or the cache's capacity."""
    others = CAPACITY if len(port.shape) == 4 else 1
    shape = [rows, *(size if isinstance(size, int) else others for size in port.shape[1:])]
    return ort.OrtValue.ortvalue_from_shape_and_type(shape, TYPES[port.type], "cuda", 0)
