"""What a format of quantized modules is, and one module's stored parts, whose types and shapes are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from genai.errors import CheckpointError
from genai.export.checkpoint.checkpoint import Array, StoredTensors
from genai.export.checkpoint.rows import Rows
from genai.export.checkpoint.tensor_files import FLOAT_DTYPES

__all__ = ["ADVICE", "Format", "StoredModule"]

ADVICE = "export the checkpoint that it was quantized from"
"""What helps where a format, or something about it, is not supported."""


class Format(Protocol):
    """How a tool stores the matrices that it quantized."""

    @property
    def method(self) -> str:
        """Its name, for the manifest."""
        ...

    @property
    def can_be_kept(self) -> bool:
        """Whether ONNX Runtime's kernels hold its codes."""
        ...

    @property
    def markers(self) -> tuple[tuple[str, str], ...]:
        """Endings of names that show a quantized matrix, and the ending of the tensor that it stands for."""
        ...

    @property
    def parts(self) -> frozenset[str]:
        """Endings of what else is stored of such a matrix."""
        ...

    @property
    def ignored(self) -> frozenset[str]:
        """Endings of tensors of any module that say nothing of weights, such as the scales of its inputs."""
        ...

    def read(self, module: StoredModule) -> Rows:
        """Return a matrix [outputs, inputs], or a stack of them.

        Raises:
            CheckpointError: A part is missing or does not fit the others.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredModule:
    """The parts of a quantized matrix.

    Args:
        tensors: Where they are.
        name: What their names begin with.
    """

    tensors: StoredTensors
    name: str

    def has(self, ending: str) -> bool:
        """Whether there is a part with this ending."""
        return f"{self.name}{ending}" in self.tensors

    def array(self, ending: str, dtypes: tuple[str, ...], shape: tuple[int | None, ...]) -> Array:
        """Return a part as it is stored.

        Args:
            ending: The end of its name.
            dtypes: The types that it may have, by safetensors' names.
            shape: Its shape; `None` is any size.

        Raises:
            CheckpointError: It is missing, or of another type or shape.
        """
        if not self.has(ending):
            raise CheckpointError(
                f'{self.tensors.path}: the tensor "{self.name}{ending}" is missing, without which "{self.name}" cannot '
                "be decoded; download the checkpoint again"
            )
        dtype = self.tensors.dtype_of(f"{self.name}{ending}")
        if dtype not in dtypes:
            raise self.error(
                ending,
                f"has type {dtype}; expected {' or '.join(dtypes)} ({ADVICE})",
            )
        array = self.tensors.raw(f"{self.name}{ending}")
        if len(array.shape) != len(shape) or any(
            size is not None and size != found for size, found in zip(shape, array.shape, strict=True)
        ):
            sizes = ", ".join("any" if size is None else str(size) for size in shape)
            raise self.error(ending, f"has shape {list(array.shape)}, but the other tensors imply [{sizes}]")
        return array

    def floats(self, ending: str, shape: tuple[int | None, ...]) -> Array:
        """Return a part of floats of any type; errors as `array`'s."""
        return self.array(ending, FLOAT_DTYPES, shape)

    def sizes(self, ending: str) -> tuple[int, ...]:
        """Return a part's shape, or that of a missing one: nothing."""
        return self.tensors.raw(f"{self.name}{ending}").shape if self.has(ending) else ()

    def error(self, ending: str, problem: str) -> CheckpointError:
        """Return the error to raise for a part: `problem` follows its file and name."""
        name = f"{self.name}{ending}"
        return CheckpointError(f'{self.tensors.file_of(name)}: the tensor "{name}" {problem}')
