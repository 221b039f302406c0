"""The weights of products in 8 bits (`adapt/eight_bit_products.py`), made of those that a graph has.

What blocks of a few bits stand for is rounded again, to 255 steps of each output's largest weight. A matrix is made some
rows at a time, which fit the processor's caches, and as many matrices at once as there are cores; then they lie in a file
that ONNX Runtime maps while it packs them, so that no second copy of all is ever in memory.

They are int8 where a processor multiplies these by uint8 exactly. Without VNNI instructions it adds two such products in 16
bits, which saturate; then they are uint8 around 128, whose products are added in 32 bits, at seven eighths of the speed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

from genai.graph.opset import MICROSOFT
from genai.runtime.adapt import WEIGHTS_MIDDLE, EightBitMatrix, external_locations, read_values
from genai.runtime.single_node import open_node

__all__ = ["exact_middle", "with_eight_bit_weights", "write_eight_bit_weights"]

_ROWS = 128
"""Rows that are made at once: what is written between two steps stays in a processor's caches."""
_LARGEST_CODE = np.float32(127)
_LEAST = np.float32(1e-30)  # of a row of zeros
_ALIGNMENT_BYTES = 4096

_PROBED_ROWS = 32  # as kernels of matrices take them, which are others than those of vectors

Codes = npt.NDArray[np.int8 | np.uint8]
Packed = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@functools.cache
def exact_middle() -> np.int8 | np.uint8:
    """Return the code of zero, in the type of weights by which this processor multiplies uint8 exactly."""
    node = helper.make_node("MatMulIntegerToFloat", ["x", "weights", "one", "one"], ["y"], domain=MICROSOFT)
    constants: dict[str, npt.NDArray[Any] | np.generic] = {
        "weights": np.full((64, 16), 127, np.int8),
        "one": np.float32(1),
    }
    product = open_node(node, np.full((_PROBED_ROWS, 64), 255, np.uint8), constants, num_threads=1)()
    return np.int8(0) if (product == 64 * 255 * 127).all() else np.uint8(128)


@contextlib.contextmanager
def with_eight_bit_weights(
    model: ModelProto, matrices: Sequence[EightBitMatrix], *, weights: Path
) -> Iterator[Path]:
    """Give a graph the matrices that it wants, which are there as long as the block lasts: until a session is made of it.

    Args:
        model: The graph, which is changed.
        matrices: What it wants.
        weights: The folder that the names of all its weights count from.

    Yields:
        The folder that they count from now.

    Raises:
        OSError: The weights cannot be read or written.
        ValueError: The folder's weights and temporary files are on different drives.
    """
    with tempfile.TemporaryDirectory(prefix="genai-", ignore_cleanup_errors=True) as folder:
        made = Path(folder).resolve()
        root = Path(os.path.commonpath([weights, made]))
        initializers = write_eight_bit_weights(matrices, made / "weights", weights=weights)
        model.graph.initializer.extend(initializers)
        for entry in external_locations(model.graph):  # an absolute path stays what it is
            entry.value = (weights / entry.value).relative_to(root).as_posix()
        yield root


def write_eight_bit_weights(
    matrices: Sequence[EightBitMatrix], path: Path, *, weights: Path
) -> list[TensorProto]:
    """Write the codes of matrices to a file; return the initializers that stand for them, their scales and their middle.

    Args:
        matrices: What a graph wants.
        path: The file to write; the initializers name it as it is given here.
        weights: The folder that the names of what the matrices are made of count from.

    Raises:
        OSError: There is no room for the file, or the graph's own weights cannot be read.
    """
    middle = exact_middle()
    initializers = [numpy_helper.from_array(np.asarray(middle), WEIGHTS_MIDDLE)]
    code_type = helper.np_dtype_to_tensor_dtype(middle.dtype)
    at_once = os.cpu_count() or 1
    with path.open("wb") as file, ThreadPoolExecutor(at_once) as pool:
        begun = (pool.submit(_eight_bit, matrix, weights, middle) for matrix in matrices)
        window = deque(itertools.islice(begun, at_once))
        for matrix in matrices:
            codes, scales = window.popleft().result()
            window.extend(itertools.islice(begun, 1))
            file.write(bytes(-file.tell() % _ALIGNMENT_BYTES))
            tensor = TensorProto(name=matrix.name, data_type=code_type, dims=codes.shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", path), ("offset", file.tell()), ("length", codes.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            file.write(codes.data)
            initializers += [tensor, numpy_helper.from_array(scales, matrix.scales)]
    return initializers


def _eight_bit(matrix: EightBitMatrix, weights: Path, middle: np.int8 | np.uint8) -> tuple[Codes, Floats]:
    """Return a matrix as codes around `middle`, [columns, rows], and the scale of each of its rows."""
    source, num_rows = matrix.source, matrix.stop - matrix.start
    num_blocks = -(-source.num_columns // source.block_size)
    chosen = slice(matrix.start, matrix.stop)
    packed: Packed = read_values(source.codes, weights).reshape(source.num_rows, num_blocks, -1)[chosen]
    scales = (
        read_values(source.scales, weights).reshape(source.num_rows, num_blocks)[chosen].astype(np.float32)
    )
    half = 1 << (source.bits - 1)
    points: Packed = np.full(scales.shape, half, np.uint8)
    if source.zero_points is not None:
        packed_points = read_values(source.zero_points, weights).reshape(source.num_rows, -1)[chosen]
        points = np.stack(_places(packed_points, source.bits), axis=-1).reshape(num_rows, -1)[:, :num_blocks]
    # No code is farther from its zero point than the farther end of all codes, where mostly one is.
    reach = np.maximum(points, 2 * half - 1 - points) * np.abs(scales)
    largest = np.maximum(reach.max(axis=1), _LEAST)
    steps = np.ascontiguousarray((scales * (_LARGEST_CODE / largest)[:, None]).T)[:, None]
    points = np.ascontiguousarray(points.T)[:, None]
    codes: Codes = np.empty((num_blocks * source.block_size, num_rows), middle.dtype)
    by_block = codes.reshape(num_blocks, source.block_size, num_rows)
    weights_of_rows = np.empty((*packed.shape[1:], _ROWS), np.float32)
    for start in range(0, num_rows, _ROWS):
        rows = slice(start, min(start + _ROWS, num_rows))
        bytes_of_rows = np.ascontiguousarray(np.moveaxis(packed[rows], 0, -1))
        rounded = weights_of_rows[..., : rows.stop - start]
        places = _places(bytes_of_rows, source.bits)
        for place, codes_there in enumerate(places):
            signed = _signed(codes_there, points[..., rows], source.bits)
            np.multiply(signed, steps[..., rows], out=rounded)
            np.rint(rounded, out=rounded)
            by_block[:, place :: len(places), rows] = np.add(rounded, np.float32(middle), out=rounded)
    return codes[: source.num_columns], largest / _LARGEST_CODE


def _signed(codes: Packed, points: Packed, bits: int) -> npt.NDArray[np.integer]:
    """Return codes less their zero points."""
    return codes.astype(np.int16) - points if bits == 8 else (codes - points).view(np.int8)


def _places(packed: Packed, bits: int) -> list[Packed]:
    """Return the codes at each place in a byte, the lowest bits first."""
    return [packed] if bits == 8 else [packed & np.uint8(15), packed >> np.uint8(4)]
