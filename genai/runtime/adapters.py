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
from typing import Any, Protocol, Self

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
from genai.runtime.value_device import ValueDevice

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
        """Give a folder's graph places for the adapters; `factors` are `attend_plainly`'s.

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
        min_ranks: How many rows, of zeros, a product has that adapters leave alone. The CPU's kernels take none; WebGPU's
            crash, and cuBLAS has no rows of no length.

    Raises:
        OutOfMemoryError: The device has not enough memory.
    """

    def __init__(self, adapters: AdapterSet, device: Device, *, min_ranks: int = 0) -> None:
        self.adapters = adapters
        self._device = device
        self._min_ranks = min_ranks
        self._number_of = {name: number for number, name in enumerate(adapters.names)}
        self._matrices = {
            name: (self._placed(name, "a"), self._placed(name, "b")) for name in adapters.products
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
        for name, both in self._matrices.items():
            for port, matrices in zip(adapter_matrices(name), both, strict=True):
                if port in inputs:
                    binding.input(port, matrices.of(active), self._device)

    def num_ranks(self, mask: int, active: tuple[int, int]) -> int:
        """Return how many rows the matrices have that `bind` binds to the products of a mask."""
        ends = self.adapters.masks[mask]
        return ends[active[1]] - ends[active[0]] or self._min_ranks

    def _placed(self, product: str, which: str) -> _Matrices:
        """Return all adapters' matrices of a product, where runs read them."""
        files = self.adapters.files
        found = [getattr(file[product], which) if product in file else None for file in files]
        first = next(part for part in found if part is not None)
        parts = [first[:0] if part is None else part for part in found]
        nothing = np.zeros((self._min_ranks, *first.shape[1:]), first.dtype)
        if isinstance(self._device, ValueDevice):
            return _Separate(self._device, parts, nothing)
        return _Stacked(self._device, parts, nothing)


Array = npt.NDArray[Any]


class _Matrices(Protocol):
    """The matrices of one product, by the adapters' numbers."""

    def of(self, active: tuple[int, int]) -> Buffer:
        """Return those of a range of adapters, one behind the other, or what stands for none: [ranks, columns]."""
        ...


class _Stacked:
    """Matrices in one buffer, of which a run reads any that are neighbours; behind them what stands for none."""

    def __init__(self, device: Device, parts: Sequence[Array], nothing: Array) -> None:
        self._ends = (0, *accumulate(map(len, parts)))
        self._buffer = _stored(device, np.concatenate([*parts, nothing]))

    def of(self, active: tuple[int, int]) -> Buffer:
        """Return those of a range of adapters."""
        start, stop = self._ends[active[0]], self._ends[active[1]]
        if start == stop:
            start, stop = self._ends[-1], self._buffer.shape[0]
        if start == stop:
            return self._buffer.shaped((0, *self._buffer.shape[1:]))
        return self._buffer.rows(start, stop - start)


class _Separate:
    """Matrices that are values of their own, of which a run, being of one row, reads one."""

    def __init__(self, device: ValueDevice, parts: Sequence[Array], nothing: Array) -> None:
        self._nothing = _stored(device, nothing)
        self._values = [_stored(device, part) if len(part) else self._nothing for part in parts]

    def of(self, active: tuple[int, int]) -> Buffer:
        """Return those of a range of at most one adapter."""
        first, behind = active
        assert behind - first <= 1, "runs over whole values have one row"
        return self._values[first] if behind > first else self._nothing


def _stored(device: Device, array: Array) -> Buffer:
    allocate = device.allocate_value if isinstance(device, ValueDevice) else device.allocate
    buffer = allocate(array.shape, array.dtype)
    device.copy_in(array, buffer)
    return buffer


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
        self._masks = [Mirror(device, (rows * ends[-1],), np.bool_) for ends in self._ends]
        self._written: list[str | None] = []

    def write(self, names: Sequence[str | None]) -> tuple[int, int]:
        """Write the masks of rows with these adapters, if others were written last; return the range of adapters to bind."""
        first, last = active = self._weights.range_of(names)
        if active == NO_ADAPTERS or self._written == names:
            return active
        self._written = list(names)
        for ends, mask in zip(self._ends, self._masks, strict=True):
            start, width = ends[first], ends[last] - ends[first]
            values = mask.array[: len(names) * width].reshape(len(names), width)
            values[...] = False
            for row, name in enumerate(names):
                if name is not None:
                    number = self._weights.number_of(name)
                    values[row, ends[number] - start : ends[number + 1] - start] = True
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
        for number, mask in enumerate(self._masks):
            width = self._weights.num_ranks(number, active)
            if adapter_mask(number) in inputs:
                binding.input(adapter_mask(number), mask.buffer.shaped((rows, 1, width)), self._device)
