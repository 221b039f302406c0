"""Rules that give a node's output shape without running it, for the operators that decoders consist of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.operators import GROUP_QUERY_ATTENTION, ROTARY_EMBEDDING, SKIP_LAYER_NORM, SKIP_RMS_NORM

__all__ = ["RULES", "Evaluation"]

Shape = tuple[int, ...]


class Evaluation(Protocol):
    """What a rule may ask about a node's operands, for one choice of sizes."""

    def shape(self, value: ir.Value) -> Shape:
        """Return how large a value is."""
        ...

    def value(self, value: ir.Value) -> NDArray[Any]:
        """Return what a value is."""
        ...


Rule = Callable[[Evaluation, ir.Node, ir.Value], Shape]

ELEMENTWISE = """
    Abs Add And Cast Clip Cos Div Elu Equal Erf Exp Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsNaN
    LeakyRelu Less LessOrEqual Log Max Min Mod Mul Neg Not Or Pow Reciprocal Relu Sigmoid Sign Sin Softplus Sqrt Sub
    Swish Tanh Where Xor
"""
LIKE_FIRST = (
    "CumSum",
    GROUP_QUERY_ATTENTION.op_type,
    "LayerNormalization",
    "RMSNormalization",
    ROTARY_EMBEDDING.op_type,
    "ScatterElements",
    "ScatterND",
    "Softmax",
    "Trilu",
)


def _operand(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise Unprovable(f"{node.op_type} ({node.name}) lacks operand {index}")
    return value


def _integers(probe: Evaluation, node: ir.Node, index: int) -> list[int]:
    return [int(item) for item in probe.value(_operand(node, index)).reshape(-1)]


def _elementwise(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    return _broadcast(node, *(probe.shape(operand) for operand in node.inputs if operand is not None))


def _broadcast(node: ir.Node, *shapes: Shape) -> Shape:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise Unprovable(f"{node.op_type} ({node.name}): {error}") from error


def _like_first(probe: Evaluation, node: ir.Node, output: ir.Value) -> Shape:
    if output is not node.outputs[0]:
        raise Unprovable(f"{node.op_type} ({node.name}): only its first output has a rule")
    return probe.shape(_operand(node, 0))


def _skip_norm(probe: Evaluation, node: ir.Node, output: ir.Value) -> Shape:
    if output not in (node.outputs[0], node.outputs[-1]) or len(node.outputs) not in (1, 4):
        raise Unprovable(f"{node.op_type} ({node.name}): the sizes of its statistics have no rule")
    return probe.shape(_operand(node, 0))


def _matmul(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    left, right = probe.shape(_operand(node, 0)), probe.shape(_operand(node, 1))
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        raise Unprovable(f"MatMul ({node.name}) of {left} and {right}")
    return (*_broadcast(node, left[:-2], right[:-2]), left[-2], right[-1])


def _gemm(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    left, right = probe.shape(_operand(node, 0)), probe.shape(_operand(node, 1))
    rows = left[1] if node.attributes.get_int("transA", 0) else left[0]
    return rows, right[0] if node.attributes.get_int("transB", 0) else right[1]


def _gather(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    data, indices = probe.shape(_operand(node, 0)), probe.shape(_operand(node, 1))
    axis = node.attributes.get_int("axis", 0) % len(data)
    return (*data[:axis], *indices, *data[axis + 1 :])


def _gather_nd(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    data, indices = probe.shape(_operand(node, 0)), probe.shape(_operand(node, 1))
    return (*indices[:-1], *data[node.attributes.get_int("batch_dims", 0) + indices[-1] :])


def _gather_elements(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    return probe.shape(_operand(node, 1))


def _tile(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    shape, repeats = probe.shape(_operand(node, 0)), _integers(probe, node, 1)
    return tuple(size * count for size, count in zip(shape, repeats, strict=True))


def _transpose(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    shape = probe.shape(_operand(node, 0))
    order = node.attributes.get_ints("perm", list(reversed(range(len(shape)))))
    return tuple(shape[axis] for axis in order)


def _reshape(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    shape, target = probe.shape(_operand(node, 0)), _integers(probe, node, 1)
    if not node.attributes.get_int("allowzero", 0):
        target = [shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    count, known = int(np.prod(shape)), int(np.prod([size for size in target if size != -1]))
    if target.count(-1) == 1 and known and count % known == 0:
        target[target.index(-1)] = count // known
    if min(target, default=0) < 0 or int(np.prod(target)) != count:
        raise Unprovable(f"Reshape ({node.name}) of {shape} to {target}")
    return tuple(target)


def _unsqueeze(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    shape, axes = probe.shape(_operand(node, 0)), _integers(probe, node, 1)
    axes = [axis % (len(shape) + len(axes)) for axis in axes]
    rest = iter(shape)
    return tuple(1 if axis in axes else next(rest) for axis in range(len(shape) + len(axes)))


def _concat(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    shapes = [probe.shape(_operand(node, index)) for index in range(len(node.inputs))]
    axis = node.attributes.get_int("axis", 0) % len(shapes[0])
    joined = list(shapes[0])
    joined[axis] = sum(shape[axis] for shape in shapes)
    return tuple(joined)


def _expand(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    return _broadcast(node, probe.shape(_operand(node, 0)), tuple(_integers(probe, node, 1)))


def _slice(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    shape = list(probe.shape(_operand(node, 0)))
    starts, ends = _integers(probe, node, 1), _integers(probe, node, 2)
    axes = _integers(probe, node, 3) if len(node.inputs) > 3 and node.inputs[3] else list(range(len(starts)))
    steps = _integers(probe, node, 4) if len(node.inputs) > 4 and node.inputs[4] else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        shape[axis] = len(
            range(shape[axis])[slice(start, None if step < 0 and end < -shape[axis] else end, step)]
        )
    return tuple(shape)


def _split(probe: Evaluation, node: ir.Node, output: ir.Value) -> Shape:
    shape = list(probe.shape(_operand(node, 0)))
    axis = node.attributes.get_int("axis", 0) % len(shape)
    place = list(node.outputs).index(output)
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        shape[axis] = _integers(probe, node, 1)[place]
    elif shape[axis] % len(node.outputs) == 0:
        shape[axis] //= len(node.outputs)
    else:
        raise Unprovable(f"Split ({node.name}) into unequal parts")
    return tuple(shape)


def _reduce(probe: Evaluation, node: ir.Node, _: ir.Value) -> Shape:
    shape = probe.shape(_operand(node, 0))
    has_axes = len(node.inputs) > 1 and node.inputs[1] is not None
    axes = {axis % len(shape) for axis in _integers(probe, node, 1)} if has_axes else set(range(len(shape)))
    if node.attributes.get_int("keepdims", 1):
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(LIKE_FIRST, _like_first),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduce),
    **dict.fromkeys((SKIP_LAYER_NORM.op_type, SKIP_RMS_NORM.op_type), _skip_norm),
    "Concat": _concat,
    "Expand": _expand,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""From operator, ONNX's own or com.microsoft's, to rule. One that is not here is run, which needs its operands' values."""
