"""The residual stream behind every layer as outputs of the graph, for those who compare models layer by layer."""

from __future__ import annotations

import re

from onnx import GraphProto, NodeProto, ValueInfoProto

from genai.graph.names import LOGITS
from genai.graph.operators import SKIP_LAYER_NORM, SKIP_RMS_NORM
from genai.runtime.adapt.graph import remove_unused

__all__ = ["promote_layers"]


def promote_layers(graph: GraphProto) -> list[str]:
    """Make the stream behind every layer an output instead of the logits; return their names, in order.

    It is what the first node of the next layer, or of the final norm, reads: nodes are named after their module
    ("layers.3.input_norm.…") in the exports of genai. Empty where that is not so, and the graph is as it was.
    """
    firsts: dict[str, NodeProto] = {}
    for node in graph.node:
        if module := re.match(r"layers\.\d+(?=\.)|final_norm(?=\.)", node.name):
            firsts.setdefault(module.group(), node)
    num_layers = len(firsts) - 1
    if num_layers < 1 or list(firsts) != [*(f"layers.{index}" for index in range(num_layers)), "final_norm"]:
        return []
    streams = [_stream_before(node) for node in list(firsts.values())[1:]]
    outputs = [output for output in graph.output if output.name != LOGITS]
    del graph.output[:]
    graph.output.extend([*outputs, *(ValueInfoProto(name=name) for name in streams)])
    remove_unused(graph)
    return streams


def _stream_before(node: NodeProto) -> str:
    """Return the stream that a layer's first node reads, or makes of what it reads by an addition."""
    for operator in (SKIP_LAYER_NORM, SKIP_RMS_NORM):
        if operator.is_type_of(node.domain, node.op_type):
            return str(node.output[operator.outputs.index("input_skip_bias_sum")])
    return str(node.output[0] if node.op_type == "Add" else node.input[0])
