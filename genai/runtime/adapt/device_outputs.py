"""What an accelerator gives back: as few bytes as will do, because each of them crosses a bus."""

from __future__ import annotations

import math

from onnx import GraphProto, NodeProto, TensorProto, helper

from genai.graph.names import BEST_IDS, LOGITS
from genai.runtime.adapt.graph import producer_of, rename_values

__all__ = ["narrow_outputs"]


_WIDENED = f"{LOGITS}.widened"
_HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})


def narrow_outputs(graph: GraphProto) -> None:
    """Give logits in the type that they were computed in, and beside them the id of each position's greatest.

    The id is int64 [batch_size, num_logits], and -1 where a logit is NaN or the greatest is not finite.
    """
    output = next((value for value in graph.output if value.name == LOGITS), None)
    if output is None or len(output.type.tensor_type.shape.dim) != 3:
        return
    axes = [axis.dim_param or axis.dim_value for axis in output.type.tensor_type.shape.dim]
    widened = LOGITS
    cast, half = producer_of(graph, LOGITS), _half_type(graph)
    if cast is not None and cast.op_type == "Cast" and half is not None:
        widened = _WIDENED
        rename_values(graph, {LOGITS: widened, cast.input[0]: LOGITS})
        output.name, output.type.tensor_type.elem_type = LOGITS, half
    elif output.type.tensor_type.elem_type in _HALVES:  # which Less has no kernels for
        widened = _WIDENED
        graph.node.append(helper.make_node("Cast", [LOGITS], [widened], to=TensorProto.FLOAT))
    graph.node.extend(_choice(widened))
    graph.initializer.extend(
        [
            helper.make_tensor(f"{BEST_IDS}.infinity", TensorProto.FLOAT, (), [math.inf]),
            helper.make_tensor(f"{BEST_IDS}.none", TensorProto.INT64, (), [-1]),
            helper.make_tensor(f"{BEST_IDS}.half", TensorProto.FLOAT, (), [0.5]),
            helper.make_tensor(f"{BEST_IDS}.axis", TensorProto.INT64, (1,), [-1]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info(BEST_IDS, TensorProto.INT64, axes[:2]))


def _half_type(graph: GraphProto) -> int | None:
    """Return the half type that the graph computes in, as its cache shows; `None` if that is of another type."""
    halves = {value.type.tensor_type.elem_type for value in graph.input} & _HALVES
    return halves.pop() if len(halves) == 1 else None


def _choice(logits: str) -> list[NodeProto]:
    """The nodes that choose the greatest of each position's logits; ArgMax passes over a NaN, or takes it."""
    parts = ("index", "value", "size", "finite", "nan", "nans", "count", "whole", "good", "id")
    names = {part: f"{BEST_IDS}.{part}" for part in parts}
    constants = {part: f"{BEST_IDS}.{part}" for part in ("infinity", "none", "half", "axis")}
    return [
        helper.make_node("ArgMax", [logits], [names["index"]], axis=-1, keepdims=1),
        helper.make_node("GatherElements", [logits, names["index"]], [names["value"]], axis=-1),
        helper.make_node("Abs", [names["value"]], [names["size"]]),
        helper.make_node("Less", [names["size"], constants["infinity"]], [names["finite"]]),
        helper.make_node("IsNaN", [logits], [names["nan"]]),
        helper.make_node("Cast", [names["nan"]], [names["nans"]], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", [names["nans"], constants["axis"]], [names["count"]], keepdims=1),
        helper.make_node("Less", [names["count"], constants["half"]], [names["whole"]]),
        helper.make_node("And", [names["finite"], names["whole"]], [names["good"]]),
        helper.make_node("Where", [names["good"], names["index"], constants["none"]], [names["id"]]),
        helper.make_node("Squeeze", [names["id"], constants["axis"]], [BEST_IDS]),
    ]
