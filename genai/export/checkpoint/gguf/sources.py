"""What stands on the right of an architecture's table: under which names, and how rearranged, a module is presented.

A string is a module whose tensors have other names only. What llama.cpp's converter changes beyond names is undone here
by views, so that codes stay codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from genai.export.checkpoint.gguf.reader import StoredTensor
from genai.export.checkpoint.gguf.tensors import decoded, view_of
from genai.export.checkpoint.rows import Rows, SelectedRows, TransposedRows

__all__ = ["ByPart", "Part", "Permuted", "Renamed", "Reordered", "Shifted", "Source", "Tensor", "Transposed"]

Config = Mapping[str, Any]
Named = Iterator[tuple[str, Rows]]


@dataclass(frozen=True, slots=True)
class Part:
    """A stored tensor that is to be presented.

    Args:
        tensor: The tensor.
        ending: What its name ends in: ".weight" or ".bias".
        is_decoded: Whether its codes cannot be carried over, even if those of its type can.
    """

    tensor: StoredTensor
    ending: str
    is_decoded: bool = False

    @property
    def rows(self) -> Rows:
        """Its view; of more than two axes all but the innermost are one."""
        rows = view_of(self.tensor)
        return decoded(rows) if self.is_decoded else rows

    @property
    def is_vector(self) -> bool:
        """Whether it has one axis."""
        return len(self.tensor.shape) == 1

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __getitem__(self, index: int) -> Part:
        shape = self.tensor.shape[1:]
        height = len(self.tensor.rows) // len(self)
        rows = self.tensor.rows[index * height : (index + 1) * height]
        return replace(self, tensor=replace(self.tensor, shape=shape, rows=rows))


class Source(Protocol):
    """Presents a module's tensors under transformers' names."""

    def present(self, part: Part, config: Config) -> Named:
        """Return names and views; the names may have the layer's `{i}` in them."""
        ...


@dataclass(frozen=True, slots=True)
class Renamed:
    """A module of another name."""

    module: str

    def present(self, part: Part, config: Config) -> Named:  # noqa: ARG002 - one signature
        """Return it."""
        yield self.module + part.ending, part.rows


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor whose name has no ending, as large as it is."""

    name: str

    def present(self, part: Part, config: Config) -> Named:  # noqa: ARG002
        """Return it."""
        yield self.name, part.rows


@dataclass(frozen=True, slots=True)
class Permuted:
    """Queries or keys whose heads have the two halves of a rotation interleaved, as llama.cpp's llama wants them.

    Row 2j + h of a head is transformers' row j + h * half (`permute` in llama.cpp's converter).

    Args:
        module: The module.
        heads: The config's key of the number of heads.
    """

    module: str
    heads: str

    def present(self, part: Part, config: Config) -> Named:
        """Return it with the halves one after the other."""
        num_rows = len(part.rows)
        head_dim = num_rows // int(config[self.heads])
        within = np.arange(head_dim).reshape(-1, 2).T.reshape(-1)
        starts = np.arange(0, num_rows, head_dim)[:, None]
        yield self.module + part.ending, _select(part.rows, (starts + within).reshape(-1))


@dataclass(frozen=True, slots=True)
class Shifted:
    """A norm's weight, stored as the factor, where transformers stores the factor less 1."""

    module: str

    def present(self, part: Part, config: Config) -> Named:  # noqa: ARG002
        """Return it less 1."""
        yield self.module + part.ending, np.asarray(part.rows[:], np.float32) - np.float32(1)


@dataclass(frozen=True, slots=True)
class Transposed:
    """A matrix that transformers keeps as [inputs, outputs]; a bias is one all the same."""

    module: str

    def present(self, part: Part, config: Config) -> Named:  # noqa: ARG002
        """Return it the other way round, without touching it."""
        yield self.module + part.ending, part.rows if part.is_vector else TransposedRows(part.rows)


@dataclass(frozen=True, slots=True)
class ByPart:
    """Matrices or vectors stacked along a first axis, each of which has a name of its own with `{e}` in it."""

    module: str

    def present(self, part: Part, config: Config) -> Named:  # noqa: ARG002
        """Return each of them."""
        for index in range(len(part)):
            yield self.module.replace("{e}", str(index)) + part.ending, part[index].rows


@dataclass(frozen=True, slots=True)
class Reordered:
    """A module whose rows transformers has in another order.

    Args:
        module: Its name.
        order: Returns from the config which stored row stands at each place.
    """

    module: str
    order: Callable[[Config], Any]

    def present(self, part: Part, config: Config) -> Named:
        """Return the rows in transformers' order."""
        yield self.module + part.ending, _select(part.rows, np.asarray(self.order(config), np.int64))


def _select(rows: Rows, indices: Any) -> Rows:
    return rows[indices] if isinstance(rows, np.ndarray) and rows.ndim == 1 else SelectedRows(rows, indices)
