"""What a machine can do at most, measured through ONNX Runtime with the threads that a model would run on.

Bandwidth is that of a sum over memory far larger than any cache (ReduceSum, which ONNX Runtime spreads over its
threads; numpy sums with one), arithmetic that of large products whose right side is constant and so packed beforehand.
Each is the best of several runs: a limit is what nothing surpasses.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper

from genai.errors import OutOfMemoryError
from genai.runtime.ort import RUN_ERRORS
from genai.runtime.single_node import open_node

__all__ = ["MachineLimits", "measure_limits"]

READ_BYTES = 1 << 29
READ_ROWS = 1024
PRODUCT_SHAPE = (1024, 2048, 2048)
"""Rows, inputs and outputs of the products."""
NUM_RUNS = 6

_LIMIT_ERRORS: tuple[type[Exception], ...] = (MemoryError, *RUN_ERRORS)


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """What a CPU can do at most; a multiplication and an addition are two operations.

    Args:
        read_bytes_per_second: Memory that it reads.
        fp32_operations_per_second: Arithmetic of a float32 product.
        int8_operations_per_second: Arithmetic of a product of unsigned by signed bytes, added up in int32.
    """

    read_bytes_per_second: float
    fp32_operations_per_second: float
    int8_operations_per_second: float

    def best(self, other: MachineLimits) -> MachineLimits:
        """Return the greater of each."""
        return MachineLimits(
            max(self.read_bytes_per_second, other.read_bytes_per_second),
            max(self.fp32_operations_per_second, other.fp32_operations_per_second),
            max(self.int8_operations_per_second, other.int8_operations_per_second),
        )


def measure_limits(*, num_threads: int | None = None, read_bytes: int = READ_BYTES) -> MachineLimits:
    """Measure a CPU; it takes a second or two.

    Args:
        num_threads: Threads of an operator; None is ONNX Runtime's choice.
        read_bytes: How much memory is read at a time.

    Raises:
        OutOfMemoryError: There is not enough memory.
    """
    rows, inputs, outputs = PRODUCT_SHAPE
    operations = 2 * rows * inputs * outputs
    try:
        return MachineLimits(
            read_bytes / _seconds_of_sum(read_bytes, num_threads),
            operations / _seconds_of_product("MatMul", np.float32, np.float32, num_threads),
            operations / _seconds_of_product("MatMulInteger", np.uint8, np.int8, num_threads),
        )
    except _LIMIT_ERRORS as error:
        raise OutOfMemoryError(f"the machine's limits cannot be measured: {error}") from error


def _seconds_of_sum(num_bytes: int, num_threads: int | None) -> float:
    values = np.ones((READ_ROWS, num_bytes // READ_ROWS // 4), np.float32)
    node = helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=0)
    return _best_seconds(node, values, np.array([1], np.int64), TensorProto.FLOAT, num_threads)


def _seconds_of_product(
    op_type: str, left: npt.DTypeLike, right: npt.DTypeLike, num_threads: int | None
) -> float:
    rows, inputs, outputs = PRODUCT_SHAPE
    node = helper.make_node(op_type, ["x", "weights"], ["y"])
    output = TensorProto.FLOAT if op_type == "MatMul" else TensorProto.INT32
    return _best_seconds(
        node, np.ones((rows, inputs), left), np.ones((inputs, outputs), right), output, num_threads
    )


def _best_seconds(
    node: NodeProto,
    values: npt.NDArray[Any],
    constant: npt.NDArray[Any],
    output_type: int,
    num_threads: int | None,
) -> float:
    """Run a node of one input and one constant several times; return the least time of a run."""
    run = open_node(node, values, {node.input[1]: constant}, output_type=output_type, num_threads=num_threads)
    best = float("inf")
    for _ in range(NUM_RUNS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best
