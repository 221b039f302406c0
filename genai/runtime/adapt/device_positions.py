"""The positions whose logits are computed, as indices that a device reads: a number on the host would hold a run up.

Where a device is to record a run, no node may compute on the host what others then read on the device.
"""

from __future__ import annotations

from onnx import GraphProto, NodeProto, TensorProto, helper

from genai.graph.names import LOGIT_POSITIONS, NUM_LOGITS_TO_KEEP
from genai.runtime.adapt.graph import number_of, operands, remove_unused

__all__ = ["take_positions"]


def take_positions(graph: GraphProto) -> bool:
    """Replace the cut to the last positions by a choice of positions, `logit_positions`: int64 [num_logits].

    Returns whether the graph had such a cut, of the second axis by `num_logits_to_keep`, and nothing else reads that.
    """
    starts = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Sub" and node.input[1] == NUM_LOGITS_TO_KEEP
    }
    cuts = [node for node in graph.node if _cuts(graph, node, starts)]
    readers = [node for node in graph.node if {NUM_LOGITS_TO_KEEP, *starts} & set(operands(node))]
    if not cuts or any(node not in cuts and node.output[0] not in starts for node in readers):
        return False
    for node in cuts:
        gather = helper.make_node("Gather", [node.input[0], LOGIT_POSITIONS], node.output, axis=1)
        node.CopyFrom(gather)
    graph.input.append(helper.make_tensor_value_info(LOGIT_POSITIONS, TensorProto.INT64, ["num_logits"]))
    remove_unused(graph)
    return True


def _cuts(graph: GraphProto, node: NodeProto, starts: dict[str, NodeProto]) -> bool:
    """Whether a node cuts the second axis from one of these starts on to the end that the start was counted from."""
    if node.op_type != "Slice" or len(node.input) != 4 or node.input[1] not in starts:
        return False
    return number_of(graph, node.input[3]) == 1 and node.input[2] == starts[node.input[1]].input[0]
