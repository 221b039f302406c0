"""The last layer's hidden states in the place of the logits, for those who want a text as a vector."""

from __future__ import annotations

from onnx import GraphProto, TensorProto, helper

from genai.graph.names import LOGITS
from genai.runtime.adapt.graph import remove_unused
from genai.runtime.adapt.logits import find_head

__all__ = ["give_hidden_states"]


def give_hidden_states(graph: GraphProto, *, hidden_size: int) -> bool:
    """Make the logits' output what the head reads, float32 [rows, positions, hidden_size]; return whether there is a head.

    They come at the positions at which logits would; the head goes.
    """
    behind: set[str] = set()
    head = find_head(graph, behind)
    if head is None:
        return False
    for node in graph.node:
        for index, output in enumerate(node.output):
            if output == LOGITS:
                node.output[index] = f"{LOGITS}.unused"
    graph.node.append(helper.make_node("Cast", [head.input[0]], [LOGITS], to=TensorProto.FLOAT))
    for index, output in enumerate(graph.output):
        if output.name == LOGITS:
            dims = [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
            given = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [*dims[:2], hidden_size])
            graph.output[index].CopyFrom(given)
    remove_unused(graph)
    return True
