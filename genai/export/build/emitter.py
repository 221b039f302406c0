"""What a piece of a graph is emitted to: a graph under construction, or a place in one that is there already.

Operators that both the native export and the passes over foreign graphs emit are written against `Emitter` once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["AttributeValue", "Emitter", "make_node"]

AttributeValue = int | float | str | Sequence[int] | Sequence[str] | ir.DataType


class Emitter(Protocol):
    """Adds nodes and constants to a graph."""

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        *,
        domain: str = "",
        name: str | None = None,
        **attributes: AttributeValue,
    ) -> ir.Value:
        """Add a node with one output and return it; `name` is the output's name, exactly."""
        ...

    def ops(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        num_outputs: int,
        *,
        domain: str = "",
        names: Sequence[str] | None = None,
        **attributes: AttributeValue,
    ) -> list[ir.Value]:
        """Add a node with several outputs and return them; an empty name is an output that is not wanted."""
        ...

    def constant(self, values: NDArray[np.generic]) -> ir.Value:
        """Return a small constant, kept inside the protobuf; equal ones are one."""
        ...

    def integers(self, *values: int) -> ir.Value:
        """Return a constant int64 [n]."""
        ...

    def overridable_input(self, name: str, default: NDArray[np.generic]) -> ir.Value:
        """Add an input that has a default: an initializer that is also listed as an input."""
        ...


def make_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    outputs: Sequence[str],
    *,
    domain: str,
    name: str,
    attributes: Mapping[str, AttributeValue],
) -> ir.Node:
    """Return a node with outputs of these names, without the operands that are left out at its end."""
    trimmed = list(inputs)
    while trimmed and trimmed[-1] is None:
        trimmed.pop()
    return ir.Node(
        domain,
        op_type,
        trimmed,
        [_attribute(key, value) for key, value in attributes.items()],
        outputs=[ir.Value(name=output) for output in outputs],
        name=name,
    )


def _attribute(name: str, value: AttributeValue) -> ir.Attr:
    if isinstance(value, ir.DataType | bool | int):
        return ir.AttrInt64(name, int(value))
    if isinstance(value, float):
        return ir.AttrFloat32(name, value)
    if isinstance(value, str):
        return ir.AttrString(name, value)
    texts = [each for each in value if isinstance(each, str)]
    if texts:
        return ir.AttrStrings(name, texts)
    return ir.AttrInt64s(name, [each for each in value if isinstance(each, int)])
