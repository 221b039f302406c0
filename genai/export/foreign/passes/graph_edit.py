"""The edits that the passes share: nodes and constants with names that are free in the graph.

Whether a change is correct is its caller's to prove.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from genai.export.build.emitter import AttributeValue, make_node

__all__ = ["GraphEdit", "Place"]


class GraphEdit:
    """Adds nodes, constants and inputs to a graph.

    Args:
        graph: The graph.
        prefix: The beginning of every new name.
    """

    def __init__(self, graph: ir.Graph, prefix: str) -> None:
        self._graph = graph
        self._prefix = prefix
        self._taken = {value.name for node in graph for value in node.outputs}
        self._taken |= {value.name for value in graph.inputs} | set(graph.initializers)
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], ir.Value] = {}

    def before(self, node: ir.Node) -> Place:
        """Return the place before a node, where others can be emitted."""
        return Place(self, node)

    def constant(self, values: NDArray[np.generic]) -> ir.Value:
        """Return a small constant; equal ones are one."""
        key = (str(values.dtype), values.tobytes(), values.shape)
        if key not in self._constants:
            self._constants[key] = self._initializer(self._free_name("constant"), values)
        return self._constants[key]

    def integers(self, *values: int) -> ir.Value:
        """Return a constant int64 [n]."""
        return self.constant(np.asarray(values, np.int64))

    def overridable_input(self, name: str, default: NDArray[np.generic]) -> ir.Value:
        """Add an input that has a default: an initializer that is also listed as an input."""
        value = self._initializer(name, default)
        self._graph.inputs.append(value)
        return value

    def insert(
        self,
        node: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        num_outputs: int,
        *,
        domain: str,
        names: Sequence[str] | None,
        **attributes: AttributeValue,
    ) -> list[ir.Value]:
        """Insert a node before another and return its outputs."""
        first = names[0] if names is not None else self._free_name(op_type)
        names = names or [first, *(f"{first}:{index}" for index in range(1, num_outputs))]
        new = make_node(op_type, inputs, names, domain=domain, name=first, attributes=attributes)
        self._taken.update(names)
        self._graph.insert_before(node, new)
        return list(new.outputs)

    def _initializer(self, name: str, values: NDArray[np.generic]) -> ir.Value:
        tensor = ir.tensor(values, name=name)
        value = ir.Value(
            name=name, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._graph.register_initializer(value)
        return value

    def _free_name(self, name: str) -> str:
        number = 0
        while f"{self._prefix}.{name}_{number}" in self._taken:
            number += 1
        self._taken.add(f"{self._prefix}.{name}_{number}")
        return f"{self._prefix}.{name}_{number}"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a graph: an `Emitter` (genai.export.build.emitter) whose nodes stand before one that is there.

    Args:
        edit: The graph.
        node: The node before which new ones are inserted.
    """

    edit: GraphEdit
    node: ir.Node

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        *,
        domain: str = "",
        name: str | None = None,
        **attributes: AttributeValue,
    ) -> ir.Value:
        """Insert a node with one output and return it; `name` is the output's name, exactly."""
        names = None if name is None else [name]
        return self.ops(op_type, inputs, 1, domain=domain, names=names, **attributes)[0]

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
        """Insert a node with several outputs and return them; an empty name is an output that is not wanted."""
        return self.edit.insert(
            self.node, op_type, inputs, num_outputs, domain=domain, names=names, **attributes
        )

    def constant(self, values: NDArray[np.generic]) -> ir.Value:
        """Return a small constant; equal ones are one."""
        return self.edit.constant(values)

    def integers(self, *values: int) -> ir.Value:
        """Return a constant int64 [n]."""
        return self.edit.integers(*values)

    def overridable_input(self, name: str, default: NDArray[np.generic]) -> ir.Value:
        """Add an input that has a default."""
        return self.edit.overridable_input(name, default)
