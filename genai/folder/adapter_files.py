"""A low-rank adapter in a model folder, `adapters/NAME.safetensors`: two matrices beside each product that it adapts.

A product is called by what the initializers of its matrix begin with. Its adapter is `PRODUCT.lora_A` [rank, inputs] and
`PRODUCT.lora_B` [rank, outputs], in the type that the graph computes in; the scale is in the second. What the product gives
for x [..., inputs] grows by (x Aᵀ) B.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from genai.errors import ModelFolderError

__all__ = ["LowRank", "read_adapter", "write_adapter"]

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_A, _B = ".lora_A", ".lora_B"
_MAX_HEADER_BYTES = 100_000_000
_ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class LowRank:
    """What an adapter adds to one product.

    Args:
        a: [rank, inputs].
        b: [rank, outputs], times the adapter's scale.
    """

    a: NDArray[Any]
    b: NDArray[Any]

    @property
    def rank(self) -> int:
        """Rows of both matrices."""
        return len(self.a)


def write_adapter(path: Path, products: Mapping[str, LowRank]) -> None:
    """Write an adapter's file.

    Args:
        path: The file.
        products: What is added to each product, by its name.
    """
    tensors = {
        name + ending: matrix
        for name, added in products.items()
        for ending, matrix in ((_A, added.a), (_B, added.b))
    }
    names = {dtype: name for name, dtype in _DTYPES.items()}
    header, end = dict[str, Any](), 0
    for name, tensor in tensors.items():
        offsets = [end, end + tensor.nbytes]
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": offsets,
        }
        end = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT_BYTES)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)


def read_adapter(path: Path) -> dict[str, LowRank]:
    """Return what an adapter adds to each product; the matrices are views of the mapped file.

    Raises:
        ModelFolderError: The file is damaged, or is not an adapter's.
    """
    tensors = _read_tensors(path)
    products = {name.removesuffix(_A) for name in tensors if name.endswith(_A)}
    others = tensors.keys() - {name + ending for name in products for ending in (_A, _B)}
    found = {}
    for name in sorted(products):
        a, b = tensors[name + _A], tensors.get(name + _B)
        if b is None or a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or a.dtype != b.dtype:
            raise ModelFolderError(
                f'{path}: "{name}" has no two matrices of one rank; export the adapter again'
            )
        found[name] = LowRank(a, b)
    if others or not found:
        what = f'the tensor "{min(others)}" is none of an adapter' if others else "it adapts nothing"
        raise ModelFolderError(
            f"{path}: {what}; a folder's adapters are written by `genai export --adapter NAME=DIR`"
        )
    return found


def _read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return a file's tensors: 8 bytes of length, a header of JSON, then the tensors back to back."""
    try:
        content = np.memmap(path, np.uint8, mode="r")
        start = 8 + int.from_bytes(content[:8].tobytes(), "little")
        if start > min(len(content), _MAX_HEADER_BYTES):
            raise ValueError(f"a header of {start} bytes in a file of {len(content)}")
        header = json.loads(content[8:start].tobytes())
        return {
            str(name): _tensor(content[start:], entry)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFolderError(
            f"{path}: damaged, or not safetensors ({error}); export the adapter again"
        ) from error


def _tensor(content: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape = _DTYPES[entry["dtype"]], tuple(int(size) for size in entry["shape"])
    first, last = (int(offset) for offset in entry["data_offsets"])
    if not 0 <= first <= last <= len(content) or last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor of shape {list(shape)} cannot lie in bytes {first} to {last}")
    return content[first:last].view(dtype).reshape(shape)
