"""Evaluation of parts of a graph on small concrete sizes: how the passes prove what a subgraph computes.

Exporters spell the same mask, the same repetition of heads and the same positions in many ways. Instead of knowing
the spellings, a pass asks what such a part computes: `Probe.value` runs the nodes behind a value with ONNX's
reference implementation, for one choice of sizes and for operands that the pass chooses, and `Probe.shape` says how
large any value of the graph is, without running the projections. A part that depends on the tokens or on the cache's
content has no value here, and the question raises `Unprovable`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from genai.export.foreign.passes.graph_queries import cache_dimensions, dependents, is_op, operands_of
from genai.export.foreign.passes.shapes import RULES
from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.names import ATTENTION_MASK, INPUT_IDS, POSITION_IDS, parse_past
from genai.graph.opset import MICROSOFT, ONNX_DOMAINS

__all__ = ["Array", "Probe", "Prober", "Sizes"]

Array = NDArray[Any]

KNOWN_INPUTS = (ATTENTION_MASK, POSITION_IDS)
MOST_ELEMENTS = 1 << 26
MOST_STEPS = 64
"""How far to look back for a given value."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes to evaluate for: `past` positions in the cache, `length` new ones, and a mask of ones over both."""

    batch: int
    past: int
    length: int

    @property
    def total(self) -> int:
        """All positions."""
        return self.past + self.length


class Prober:
    """Answers questions about one graph, which must not change meanwhile.

    Args:
        model: The graph's model, topologically sorted, with the canonical names of inputs.
    """

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        unknown = [value for value in model.graph.inputs if value.name not in KNOWN_INPUTS]
        self.of_data = dependents(model.graph, unknown, through_shape=False)
        self.order = {node: place for place, node in enumerate(model.graph)}
        self._opsets = [onnx.helper.make_opsetid(*item) for item in model.graph.opset_imports.items()]
        self._evaluators: dict[ir.Node, ReferenceEvaluator] = {}
        self._plain: dict[Sizes, Probe] = {}

    def at(self, sizes: Sizes, given: Mapping[ir.Value, Array] | None = None) -> Probe:
        """Return a probe of these sizes, where some values of the tokens' or the cache's content are `given`."""
        if sizes not in self._plain:
            self._plain[sizes] = Probe(self, sizes, {}, None)
        return Probe(self, sizes, dict(given), self._plain[sizes]) if given else self._plain[sizes]

    def at_positions(self, sizes: Sizes, given: Mapping[ir.Value, Array]) -> Probe:
        """Return a probe of these sizes, where values that follow from the sizes are something else."""
        return Probe(self, sizes, dict(given), None)

    def axes(self, sizes: Sizes) -> dict[str, int]:
        """Return how large the axes are that the inputs give a name."""
        found: dict[str, int] = {}
        for value in self.graph.inputs:
            known = _sizes_of_input(str(value.name), sizes)
            for axis, size in zip(value.shape or (), known, strict=False):
                name = _axis_name(axis)
                if isinstance(name, str) and size >= 0:
                    found[name] = size
        return found

    def run(self, node: ir.Node, operands: list[Array | None]) -> list[Array]:
        """Run one node.

        Raises:
            Unprovable: The reference implementation cannot.
        """
        if is_op(node, "GatherElements") and operands[0] is not None and operands[1] is not None:
            # The reference implementation knows up to 64 rows.
            return [np.take_along_axis(operands[0], operands[1], node.attributes.get_int("axis", 0))]
        try:
            evaluator = self._evaluators.get(node)
            if evaluator is None:
                evaluator = self._evaluators[node] = self._evaluator(node)
            feeds = {
                f"operand_{index}": operand for index, operand in enumerate(operands) if operand is not None
            }
            return [np.asarray(result) for result in evaluator.run(None, feeds)]
        except Exception as error:  # whatever it is, nothing is proven then
            raise Unprovable(f"{node.op_type} ({node.name}) cannot be evaluated: {error}") from error

    def _evaluator(self, node: ir.Node) -> ReferenceEvaluator:
        proto = ir.to_proto(node)
        if any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
            raise Unprovable(f"{node.op_type} has a subgraph")
        del proto.input[:], proto.output[:]
        proto.input.extend("" if x is None else f"operand_{index}" for index, x in enumerate(node.inputs))
        proto.output.extend(f"result_{index}" for index in range(len(node.outputs)))
        untyped = onnx.helper.make_empty_tensor_value_info
        graph = onnx.helper.make_graph(
            [proto],
            "probe",
            [untyped(name) for name in proto.input if name],
            [untyped(x) for x in proto.output],
        )
        return ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=self._opsets))


class Probe:
    """The values and shapes of a graph at one choice of sizes. Made by `Prober.at`.

    Args:
        prober: The graph.
        sizes: The sizes.
        given: Values that are not to be evaluated; they belong to the probe.
        plain: The probe without them, which has what does not depend on them.
    """

    def __init__(
        self, prober: Prober, sizes: Sizes, given: dict[ir.Value, Array], plain: Probe | None
    ) -> None:
        self._prober = prober
        self._sizes = sizes
        self._values = given
        self._plain = plain
        self._shapes: dict[ir.Value, tuple[int, ...]] = {value: array.shape for value, array in given.items()}
        self._has_shapes = False
        self._unknown: dict[ir.Value, str] = {}
        self._num_steps = 0

    def value(self, value: ir.Value) -> Array:
        """Return what a value is at these sizes.

        Raises:
            Unprovable: It depends on the tokens or on the cache's content, or cannot be evaluated.
        """
        if value in self._unknown:
            raise Unprovable(self._unknown[value])
        if value not in self._values:
            self._num_steps += 1
            try:
                self._evaluate(value)
            except Unprovable as error:
                self._unknown[value] = str(error)
                raise
            finally:
                self._num_steps -= 1
        return self._values[value]

    def knows(self, value: ir.Value) -> bool:
        """Whether a value can be evaluated."""
        try:
            self.value(value)
        except Unprovable:
            return False
        return True

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """Return how large a value is at these sizes.

        Raises:
            Unprovable: Some node on the way has no rule here.
        """
        if self._plain is not None:
            return self._plain.shape(value)
        if not self._has_shapes:
            self._has_shapes = True
            # In the graph's order, so that no rule has to go further back than its operands.
            for node in self._prober.graph:
                for output in node.outputs:
                    with contextlib.suppress(Unprovable):
                        self._shapes[output] = self._find_shape(output)
        if value not in self._shapes:
            self._shapes[value] = self._find_shape(value)
        return self._shapes[value]

    def _evaluate(self, value: ir.Value) -> None:
        if value.is_graph_input():
            self._values[value] = self._input(value)
        elif value.const_value is not None:
            self._values[value] = np.asarray(value.const_value.numpy())
        elif value not in self._prober.of_data and self._plain is not None:
            self._values[value] = self._plain.value(value)
        elif value in self._prober.of_data and (self._plain is None or self._num_steps > MOST_STEPS):
            raise Unprovable(f"{value.name} depends on the tokens or on the cache's content")
        else:
            self._run(value)

    def _run(self, value: ir.Value) -> None:
        node = value.producer()
        if node is None:
            raise Unprovable(f"{value.name} comes from nowhere")
        if is_op(node, "Shape"):
            assert node.inputs[0] is not None
            shape = self.shape(node.inputs[0])
            start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(shape))
            self._values[value] = np.asarray(shape[start:end], np.int64)
            return
        for operand in operands_of(node):
            self.value(operand)
        operands = [None if operand is None else self.value(operand) for operand in node.inputs]
        for output, result in zip(node.outputs, self._prober.run(node, operands), strict=True):
            if result.size > MOST_ELEMENTS:
                raise Unprovable(f"{output.name} is too large to evaluate")
            self._values[output] = result

    def _input(self, value: ir.Value) -> Array:
        sizes = self._sizes
        if value.name == ATTENTION_MASK:
            return np.ones((sizes.batch, sizes.total), np.int64)
        if value.name == POSITION_IDS:
            return np.tile(np.arange(sizes.past, sizes.total, dtype=np.int64), (sizes.batch, 1))
        raise Unprovable(f"it depends on what {value.name} holds")

    def _find_shape(self, value: ir.Value) -> tuple[int, ...]:
        if value in self._shapes:
            return self._shapes[value]
        if value.is_graph_input():
            return self._input_shape(value)
        if value.const_value is not None:
            return tuple(value.const_value.shape.numpy())
        node = value.producer()
        is_known = node is not None and node.domain in (*ONNX_DOMAINS, MICROSOFT)
        rule = RULES.get(node.op_type) if node is not None and is_known else None
        try:
            return self.value(value).shape if node is None or rule is None else rule(self, node, value)
        except Unprovable:
            return self._declared_shape(value)

    def _declared_shape(self, value: ir.Value) -> tuple[int, ...]:
        """Return the shape that the exporter declared, where its axes are those of the inputs."""
        sizes = self._prober.axes(self._sizes)
        declared = [_axis_name(axis) for axis in value.shape] if value.shape is not None else [None]
        shape = tuple(axis if isinstance(axis, int) else sizes.get(str(axis), -1) for axis in declared)
        if -1 in shape:
            raise Unprovable(f"nothing is known of the size of {value.name}")
        return shape

    def _input_shape(self, value: ir.Value) -> tuple[int, ...]:
        match _sizes_of_input(str(value.name), self._sizes):
            case (batch, length):
                return batch, length
            case (batch, _, past):
                num_heads, head_dim = cache_dimensions(value)
                return batch, num_heads, past, head_dim
        raise Unprovable(f"nothing is known of the input {value.name}")


def _sizes_of_input(name: str, sizes: Sizes) -> tuple[int, ...]:
    """Return an input's first axes; -1 for what the graph itself fixes."""
    if name in (INPUT_IDS, POSITION_IDS):
        return sizes.batch, sizes.length
    if name == ATTENTION_MASK:
        return sizes.batch, sizes.total
    return (sizes.batch, -1, sizes.past) if parse_past(name) is not None else ()


def _axis_name(axis: int | ir.SymbolicDim) -> int | str | None:
    """Return an axis' size or name; exporters may name a fixed size like a symbol, "2"."""
    if isinstance(axis, int):
        return axis
    return int(axis.value) if axis.value is not None and axis.value.isdigit() else axis.value
