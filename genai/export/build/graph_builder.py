"""A small builder of ONNX graphs over onnx_ir: names, nodes, constants and lazily computed initializers.

It knows the parameters' names and the precision, and nothing of decoders.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from genai.export.build.emitter import AttributeValue, make_node
from genai.export.build.precision import Precision
from genai.export.build.tensors import LazyTensor
from genai.export.checkpoint.rows import Experts, Rows, is_rounded_anew, stacked_codes
from genai.graph.opset import IR_VERSION, ONNX, OPSETS
from genai.quantize import BlockScheme, Layout

__all__ = ["GraphBuilder", "Product", "Tap"]


@dataclass(frozen=True, slots=True)
class Tap:
    """A value that is multiplied by the matrices of some modules, in one product.

    Args:
        value: [..., inputs].
        modules: The modules' paths.
    """

    value: ir.Value
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """A product with the stacked matrices of some modules.

    Args:
        name: What its initializers' names begin with.
        modules: The modules' paths.
    """

    name: str
    modules: tuple[str, ...]


@dataclass(slots=True)
class GraphBuilder:
    """A graph under construction.

    Args:
        precision: The types of activations and weights.
        parameters: The weights by canonical name; a scope's path is the prefix of the names in it.
        additions: What is added to products of what they multiply, by the paths of the modules.
    """

    precision: Precision
    parameters: Mapping[str, Rows]
    inputs: list[ir.Value] = field(default_factory=list)
    outputs: list[ir.Value] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)
    constants: dict[str, ir.Value] = field(default_factory=dict)
    initializers: dict[str, ir.Value] = field(default_factory=dict)
    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    storage: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    taps: list[Tap] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    additions: Mapping[tuple[str, ...], Callable[[ir.Value], ir.Value]] = field(default_factory=dict)
    _scope: list[str] = field(default_factory=list)
    _shared: set[str] = field(default_factory=set)
    _num_named: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix the names of nodes, values, initializers and parameters within the block."""
        self._scope.append(name)
        try:
            yield
        finally:
            self._scope.pop()

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes around what comes next, the outermost first."""
        return tuple(self._scope)

    @contextlib.contextmanager
    def within(self, *scopes: str) -> Iterator[None]:
        """Have these scopes alone around the block."""
        outer, self._scope = self._scope, list(scopes)
        try:
            yield
        finally:
            self._scope = outer

    @contextlib.contextmanager
    def shared(
        self, scope: str, additions: Mapping[tuple[str, ...], Callable[[ir.Value], ir.Value]]
    ) -> Iterator[None]:
        """Enter a scope outside all others again and again: its initializers are those of the first time.

        Args:
            scope: The scope.
            additions: What is added to its products this time.
        """
        self._shared.add(f"{scope}.")
        self.additions = additions
        try:
            with self.within(scope):
                yield
        finally:
            self.additions = {}

    def is_shared(self, path: str) -> bool:
        """Whether a path is within a scope that is entered again and again."""
        return any(path.startswith(scope) for scope in self._shared)

    def path(self, name: str) -> str:
        """Return a name with the scopes around it."""
        return ".".join((*self._scope, name))

    def parameter(self, name: str) -> Rows:
        """Return a parameter of this scope."""
        return self.parameters[self.path(name)]

    def has_parameter(self, name: str) -> bool:
        """Whether this scope has a parameter of this name."""
        return self.path(name) in self.parameters

    def scheme_of(self, module: str) -> BlockScheme | None:
        """How a module of this scope is quantized; `None` if it is stored as floats."""
        path = self.path(module)
        layout = self._kept_layout(path)
        if layout is not None:
            return layout.scheme
        weight = self.parameters.get(f"{path}.weight") if self.precision.keeps_codes else None
        if weight is not None and is_rounded_anew(weight):
            return self.precision.scheme_of_uncarried(path)
        return self.precision.scheme_of(path)

    def storage_of(self, module: str) -> BlockScheme | Layout | None:
        """What modules of this scope must have in common to be stored as one matrix."""
        return self._kept_layout(self.path(module)) or self.scheme_of(module)

    def is_carried(self, path: str) -> bool:
        """Whether the matrix of a module, by its whole path, is stored as another tool quantized it."""
        return self._kept_layout(path) is not None

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        """Add an input of the graph."""
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        self.inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> None:
        """Make a value an output of the graph, under this name."""
        value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(dtype)
        self.outputs.append(value)

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
        return self.ops(
            op_type, inputs, 1, domain=domain, names=None if name is None else [name], **attributes
        )[0]

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
        node_name = self._unique(self.path(op_type))
        if names is None:
            names = [node_name if index == 0 else f"{node_name}:{index}" for index in range(num_outputs)]
        node = make_node(op_type, inputs, names, domain=domain, name=node_name, attributes=attributes)
        self.nodes.append(node)
        return list(node.outputs)

    def constant(self, values: NDArray[np.generic], *, name: str | None = None) -> ir.Value:
        """Return a small constant, kept inside the protobuf; those of equal values, type and shape, or of one name, are one.

        Args:
            values: Its value.
            name: What it is called, by whoever wants to change it; chosen from its value if not given.
        """
        if name is None:
            shape = "x".join(map(str, values.shape)) if values.ndim > 1 else f"{values.ndim}d"
            text = "_".join(str(value) for value in values.reshape(-1).tolist())
            name = f"constants.{values.dtype}.{text}_{shape}"
        if name not in self.constants:
            tensor = ir.tensor(values, name=name)
            value = ir.Value(name=name, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype))
            value.const_value = tensor
            self.constants[name] = value
        return self.constants[name]

    def integers(self, *values: int) -> ir.Value:
        """Return a constant int64 [n]."""
        return self.constant(np.asarray(values, np.int64))

    def scalar(self, value: float) -> ir.Value:
        """Return a constant of the graph's float type, of no axes."""
        return self.constant(np.asarray(value, self.precision.float_type.numpy()))

    def scaled(self, x: ir.Value, factor: float) -> ir.Value:
        """Return a value of the graph's float type, multiplied; itself where the factor is 1."""
        return x if factor == 1.0 else self.op("Mul", [x, self.scalar(factor)])

    def as_float32(self, x: ir.Value) -> ir.Value:
        """Return a value of the graph's float type as float32."""
        return (
            x
            if self.precision.float_type == ir.DataType.FLOAT
            else self.op("Cast", [x], to=ir.DataType.FLOAT)
        )

    def from_float32(self, x: ir.Value) -> ir.Value:
        """Return a float32 value in the graph's float type."""
        float_type = self.precision.float_type
        return x if float_type == ir.DataType.FLOAT else self.op("Cast", [x], to=float_type)

    def float32(self, value: float) -> ir.Value:
        """Return a constant float32 of no axes, whatever the graph's float type is."""
        return self.constant(np.asarray(value, np.float32))

    def overridable_input(self, name: str, default: NDArray[np.generic]) -> ir.Value:
        """Add an input that has a default: an initializer that is also listed as an input."""
        value = self.input(name, ir.DataType.from_numpy(default.dtype), default.shape)
        value.const_value = ir.tensor(default, name=name)
        self.constants[name] = value
        return value

    def initializer(self, name: str, tensor: LazyTensor, *, shares: ir.Value | None = None) -> ir.Value:
        """Add a tensor that will lie in the external data file.

        Args:
            name: Its name within the scope.
            tensor: Its shape, type and rows.
            shares: An earlier initializer that has the same bytes, perhaps under another shape: they are
                stored once.
        """
        name = self.path(name)
        if name in self.initializers and self.is_shared(name):
            return self.initializers[name]
        assert name not in self.tensors, f"{name} is there already"
        value = ir.Value(name=name, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype))
        self.tensors[name], self.initializers[name] = tensor, value
        self.storage[name] = self.storage[str(shares.name)] if shares is not None else name
        assert tensor.num_bytes == self.tensors[self.storage[name]].num_bytes, f"{name} cannot share bytes"
        return value

    def model(self, *, producer: str, version: str) -> ir.Model:
        """Return the finished model; the initializers get their `const_value` when they are written."""
        graph = ir.Graph(
            self.inputs,
            self.outputs,
            nodes=self.nodes,
            initializers=[*self.constants.values(), *self.initializers.values()],
            opset_imports={**OPSETS, ONNX: self.precision.form.opset},
            name="decoder",
        )
        return ir.Model(
            graph,
            ir_version=IR_VERSION,
            producer_name=producer,
            producer_version=version,
            metadata_props=self.metadata,
        )

    def _kept_layout(self, path: str) -> Layout | None:
        """Return the layout of a matrix that is carried over; `None` of any other."""
        rows = self.parameters.get(f"{path}.weight") if self.precision.keeps_codes else None
        if rows is None:
            return None
        codes = stacked_codes(rows.parts if isinstance(rows, Experts) else [rows])
        if codes is None or (
            codes.scheme.bits == 4 and codes.scheme.block_size > self.precision.form.max_narrow_block
        ):
            return None
        return codes.layout

    def _unique(self, name: str) -> str:
        count = self._num_named.get(name, 0)
        self._num_named[name] = count + 1
        return name if count == 0 else f"{name}_{count}"
