"""What an accelerator gives back: as few bytes as will do, because each of them crosses a bus."""

from __future__ import annotations

import math

from onnx import GraphProto, NodeProto, TensorProto, helper

from genai.graph.names import BEST_IDS, LOGITS
from genai.runtime.adapt.graph import producer_of

__all__ = ["narrow_outputs"]


def narrow_outputs(graph: GraphProto) -> None:
    """Give logits in the type that they were computed in, and beside them the id of each position's greatest.

    The id is int64 [batch_size, num_logits], and -1 where the greatest logit is not finite.
    """
    output = next((value for value in graph.output if value.name == LOGITS), None)
    if output is None or len(output.type.tensor_type.shape.dim) != 3:
        return
    axes = [axis.dim_param or axis.dim_value for axis in output.type.tensor_type.shape.dim]
    widened = f"{LOGITS}.widened"
    cast, float_type = producer_of(graph, LOGITS), _half_type(graph)
    if float_type is not None and cast is not None and cast.op_type == "Cast":
        narrow = next(node for node in graph.node if cast.input[0] in node.output)
        for place, name in enumerate(narrow.output):
            if name == cast.input[0]:
                narrow.output[place] = LOGITS
        cast.input[0], cast.output[0] = LOGITS, widened
        output.type.tensor_type.elem_type = float_type
    else:
        widened = LOGITS
    graph.node.extend(_choice(widened))
    graph.initializer.extend(
        [
            helper.make_tensor(f"{BEST_IDS}.infinity", TensorProto.FLOAT, (), [math.inf]),
            helper.make_tensor(f"{BEST_IDS}.none", TensorProto.INT64, (), [-1]),
            helper.make_tensor(f"{BEST_IDS}.axis", TensorProto.INT64, (1,), [-1]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info(BEST_IDS, TensorProto.INT64, axes[:2]))


def _half_type(graph: GraphProto) -> int | None:
    """Return the half type that the graph computes in, as its cache shows; `None` if that is of another type."""
    types = {value.type.tensor_type.elem_type for value in graph.input}
    halves = types & {TensorProto.FLOAT16, TensorProto.BFLOAT16}
    return halves.pop() if len(halves) == 1 else None


def _choice(logits: str) -> list[NodeProto]:
    """The nodes that choose the greatest of each position's logits."""
    names = {part: f"{BEST_IDS}.{part}" for part in ("index", "value", "size", "finite", "id")}
    return [
        helper.make_node("ArgMax", [logits], [names["index"]], axis=-1, keepdims=1),
        helper.make_node("GatherElements", [logits, names["index"]], [names["value"]], axis=-1),
        helper.make_node("Abs", [names["value"]], [names["size"]]),
        helper.make_node("Less", [names["size"], f"{BEST_IDS}.infinity"], [names["finite"]]),
        helper.make_node("Where", [names["finite"], names["index"], f"{BEST_IDS}.none"], [names["id"]]),
        helper.make_node("Squeeze", [names["id"], f"{BEST_IDS}.axis"], [BEST_IDS]),
    ]
