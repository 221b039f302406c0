"""The last layer's hidden states in the place of the logits: for vectors of texts, and for a head in a graph of its own."""

from __future__ import annotations

from onnx import GraphProto, ModelProto, TensorProto, helper

from genai.graph.names import LOGITS
from genai.runtime.adapt.graph import remove_unused
from genai.runtime.adapt.logits import find_head

__all__ = ["HIDDEN_STATES", "give_hidden_states", "head_of"]

HIDDEN_STATES = "hidden_states"
"""The input of a head."""


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


def head_of(model: ModelProto, *, hidden_size: int) -> ModelProto | None:
    """Return a graph from hidden states, float32 [rows, positions, hidden_size], to logits; `None` if the head cannot be told.

    The model stays as it is. What it has outside stays there.
    """
    made = ModelProto()
    made.CopyFrom(model)
    head = find_head(made.graph, set())
    if head is None:
        return None
    head.input[0] = HIDDEN_STATES
    shape: list[str | int] = ["rows", "positions", hidden_size]
    made.graph.input.append(helper.make_tensor_value_info(HIDDEN_STATES, TensorProto.FLOAT, shape))
    kept = [output for output in made.graph.output if output.name == LOGITS]
    del made.graph.output[:]
    made.graph.output.extend(kept)
    remove_unused(made.graph)
    return made
