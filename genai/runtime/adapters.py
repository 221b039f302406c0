"""The adapters of a folder while it runs: their matrices where the device reads them, and whose rows read which.

All adapters' matrices of a product lie one behind the other. A run is bound to those from the first to the last adapter
that its rows name, where they lie; a mask leaves each row its own. So switching copies nothing, rows with different
adapters run together, and a run without any is bound to no rows at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from genai.cache import Buffer, Device
from genai.errors import ModelFolderError
from genai.folder import ModelFolder
from genai.folder.adapter_files import LowRank, read_adapter
from genai.graph.names import ADAPTER_POSITIONS, adapter_mask, adapter_matrices
from genai.runtime.adapt import AdaptedProduct, add_adapters
from genai.runtime.binding import Binding
from genai.runtime.step_buffers import Mirror

__all__ = ["NO_ADAPTERS", "AdapterInputs", "AdapterSet", "AdapterWeights"]

Ends = tuple[int, ...]
"""How many ranks the adapters before each one have in a product, and all of them."""
NO_ADAPTERS = (0, 0)
"""The adapters of a run that has none, from the first to the one behind the last."""


@dataclass(frozen=True, slots=True)
class AdapterSet:
    """The adapters of a folder, as their files have them.

    Args:
        names: Their names.
        files: What each of them adds to each product.
        products: What a graph has to know of the products that any of them adapts.
        masks: For each mask, which ranks of its products are whose.
    """

    names: tuple[str, ...]
    files: tuple[Mapping[str, LowRank], ...]
    products: Mapping[str, AdaptedProduct]
    masks: tuple[Ends, ...]

    @classmethod
    def of_folder(cls, folder: ModelFolder) -> Self | None:
        """Read a folder's adapters; `None` if it has none.

        Raises:
            ModelFolderError: A file is damaged, or two of them are of different models.
        """
        files = {name: read_adapter(path) for name, path in folder.adapter_files.items()}
        try:
            return cls.of_files(files) if files else None
        except _MisfitError as error:
            raise _misfit(folder.adapter_files[error.adapter], error.product) from error

    @classmethod
    def of_files(cls, files: Mapping[str, Mapping[str, LowRank]]) -> Self:
        """Return what adapters add to each product, by their names, as a set."""
        shapes: dict[str, tuple[int, int, np.dtype[Any]]] = {}
        for name, file in files.items():
            for product, added in file.items():
                shape = (added.a.shape[1], added.b.shape[1], added.a.dtype)
                if shapes.setdefault(product, shape) != shape:
                    raise _MisfitError(name, product)
        ends = {
            product: (
                0,
                *accumulate(file[product].rank if product in file else 0 for file in files.values()),
            )
            for product in shapes
        }
        masks = tuple(dict.fromkeys(ends.values()))
        products = {
            product: AdaptedProduct(num_inputs, num_outputs, masks.index(ends[product]), dtype)
            for product, (num_inputs, num_outputs, dtype) in shapes.items()
        }
        return cls(tuple(files), tuple(files.values()), products, masks)

    def add_to(
        self,
        model: ModelProto,
        folder: ModelFolder,
        factors: Mapping[str, npt.NDArray[np.float32]] | None = None,
    ) -> None:
        """Give a folder's graph places for the adapters; `factors` are `attend_for_one_token`'s.

        Raises:
            ModelFolderError: It has other products.
        """
        missing = add_adapters(model, self.products, factors)
        if missing:
            index = next(index for index, file in enumerate(self.files) if missing[0] in file)
            raise _misfit(folder.adapter_files[self.names[index]], missing[0])


class _MisfitError(Exception):
    """An adapter has a product in another shape than one before it."""

    def __init__(self, adapter: str, product: str) -> None:
        super().__init__(adapter, product)
        self.adapter, self.product = adapter, product


def _misfit(path: Path, product: str) -> ModelFolderError:
    return ModelFolderError(
        f"{path}: the model has no product {product} of the adapter's shape: the adapter was exported with another model; "
        "export it with this one, or remove the file"
    )


class AdapterWeights:
    """The matrices of a folder's adapters on a device.

    Args:
        adapters: The adapters.
        device: Where they are to lie.

    Raises:
        OutOfMemoryError: The device has not enough memory.
    """

    def __init__(self, adapters: AdapterSet, device: Device) -> None:
        self.adapters = adapters
        self._device = device
        self._number_of = {name: number for number, name in enumerate(adapters.names)}
        self._matrices = {
            name: (self._stacked(name, "a"), self._stacked(name, "b")) for name in adapters.products
        }

    def range_of(self, names: Sequence[str | None]) -> tuple[int, int]:
        """Return the numbers of the first of some adapters and of the one behind the last."""
        numbers = {self._number_of[name] for name in names if name is not None}
        return (min(numbers), max(numbers) + 1) if numbers else NO_ADAPTERS

    def number_of(self, name: str) -> int:
        """Return an adapter's number."""
        return self._number_of[name]

    def bind(self, binding: Binding, active: tuple[int, int], *, inputs: Collection[str]) -> None:
        """Bind the matrices of a range of adapters to those of these inputs that are such matrices."""
        for name, product in self.adapters.products.items():
            ends = self.adapters.masks[product.mask]
            for port, matrix in zip(adapter_matrices(name), self._matrices[name], strict=True):
                if port in inputs:
                    binding.input(port, _rows(matrix, ends[active[0]], ends[active[1]]), self._device)

    def _stacked(self, product: str, which: str) -> Buffer:
        """Return all adapters' matrices of a product, one behind the other."""
        parts = [getattr(file[product], which) for file in self.adapters.files if product in file]
        stacked = np.concatenate(parts)
        buffer = self._device.allocate(stacked.shape, stacked.dtype)
        self._device.copy_in(stacked, buffer)
        return buffer


def _rows(matrix: Buffer, start: int, stop: int) -> Buffer:
    """Return rows of a matrix, perhaps none."""
    return matrix.rows(start, stop - start) if stop > start else matrix.shaped((0, *matrix.shape[1:]))


class AdapterInputs:
    """What runs are told of adapters: the masks of their rows, beside the matrices.

    Args:
        weights: The matrices.
        device: Where the masks are to lie.
        rows: Most rows of a run.
    """

    def __init__(self, weights: AdapterWeights, device: Device, *, rows: int) -> None:
        self._weights = weights
        self._device = device
        self._ends = weights.adapters.masks
        self._one_position, self._all_positions = np.array([1]), np.array([np.iinfo(np.int64).max])
        dtypes = {product.mask: product.dtype for product in weights.adapters.products.values()}
        self._masks = [
            Mirror(device, (rows * ends[-1],), dtypes[number]) for number, ends in enumerate(self._ends)
        ]

    def write(self, names: Sequence[str | None]) -> tuple[int, int]:
        """Write the masks of rows with these adapters; return the range of adapters to bind."""
        first, last = active = self._weights.range_of(names)
        if active == NO_ADAPTERS:
            return active
        for ends, mask in zip(self._ends, self._masks, strict=True):
            start, width = ends[first], ends[last] - ends[first]
            values = mask.array[: len(names) * width].reshape(len(names), width)
            values[...] = 0
            for row, name in enumerate(names):
                if name is not None:
                    number = self._weights.number_of(name)
                    values[row, ends[number] - start : ends[number + 1] - start] = 1
            mask.upload()
        return active

    def bind(self, binding: Binding, active: tuple[int, int], *, rows: int, inputs: Collection[str]) -> None:
        """Bind the masks of so many rows and the matrices of a range of adapters.

        Args:
            binding: What is bound.
            active: The range, as `write` returned it.
            rows: Rows of the run.
            inputs: The inputs of the graph's places for adapters; what reads prompts alone lacks some.
        """
        self._weights.bind(binding, active, inputs=inputs)
        positions = self._one_position if active == NO_ADAPTERS else self._all_positions
        if ADAPTER_POSITIONS in inputs:
            binding.host_input(ADAPTER_POSITIONS, positions)
        for number, (ends, mask) in enumerate(zip(self._ends, self._masks, strict=True)):
            width = ends[active[1]] - ends[active[0]]
            if adapter_mask(number) in inputs:
                binding.input(adapter_mask(number), mask.buffer.shaped((rows, 1, width)), self._device)
