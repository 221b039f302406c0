"""The cut to the positions whose logits are wanted, as early as it can be.

A graph cuts before its head, or before its last norm. What stands between the last layer's attention and there computes each
position by itself, so that it needs no others: a prompt, of which no logits are wanted, then spares itself that layer's
feed-forward block.
"""

from __future__ import annotations

from onnx import GraphProto, NodeProto, helper

from genai.graph.names import NUM_LOGITS_TO_KEEP
from genai.graph.opset import MICROSOFT, ONNX_DOMAINS
from genai.runtime.adapt.graph import attributes_of, operands

__all__ = ["cut_early"]

_ELEMENTWISE = frozenset({"Add", "Cast", "Div", "Gelu", "Mul", "Sigmoid", "Sub", "Tanh"})
_BY_POSITION = {
    MICROSOFT: frozenset(
        {
            "FastGelu",
            "Gelu",
            "MatMulNBits",
            "QuickGelu",
            "SimplifiedLayerNormalization",
            "SkipLayerNormalization",
            "SkipSimplifiedLayerNormalization",
        }
    ),
    "": frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", *_ELEMENTWISE}),
}
"""Operators that compute each position by itself, whatever else they read being constant."""
_BEHIND_POSITIONS = frozenset(
    {"GroupQueryAttention", *(name for names in _BY_POSITION.values() for name in names)}
)
"""Operators whose values have positions as their second axis, so that they can be cut there."""


def cut_early(graph: GraphProto) -> bool:
    """Move the cut before a head as far up as it goes, in place; return whether it has moved."""
    moving = _Moving(graph)
    return bool(moving.cuts) and moving.move()


class _Moving:
    """A graph while its cuts move up."""

    def __init__(self, graph: GraphProto) -> None:
        self._graph = graph
        self._producers = {output: node for node in graph.node for output in node.output}
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._given = {output.name for output in graph.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for operand in filter(None, operands(node)):
                self._readers.setdefault(operand, []).append(node)
        starts = {
            node.output[0]
            for node in graph.node
            if node.op_type == "Sub" and NUM_LOGITS_TO_KEEP in node.input
        }
        self.cuts = [node for node in graph.node if node.op_type == "Slice" and node.input[1] in starts]

    def move(self) -> bool:
        """Cut what goes into the nodes above, instead of what comes out of them."""
        behind = self._nodes_to_cut_before()
        inside = {id(node) for node in behind}
        values = sorted(
            {
                operand
                for node in behind
                for operand in node.input
                if operand
                and not self._is_constant(operand)
                and id(self._producers.get(operand)) not in inside
            }
        )
        if not behind or not all(self._has_positions(value) for value in values):
            return False
        cut_of = {value: f"{value}.cut" for value in values}
        uncut = {cut.output[0]: cut.input[0] for cut in self.cuts}
        moved = {id(node) for node in (*behind, *self.cuts)}
        last = max(index for index, node in enumerate(self._graph.node) if id(node) in moved)
        before = [node for node in self._graph.node[:last] if id(node) not in moved]
        if any(operand in uncut for node in before for operand in node.input):
            return False
        after = list(self._graph.node[last + 1 :])
        how = self.cuts[0].input[1:]
        cuts = [helper.make_node("Slice", [value, *how], [cut_of[value]]) for value in values]
        for nodes, names in ((behind, cut_of), (after, {}), (behind + after, {})):
            for node in nodes:
                for index, operand in enumerate(node.input):
                    node.input[index] = names.get(operand, uncut.get(operand, operand))
        nodes = [*before, *cuts, *behind, *after]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        return True

    def _nodes_to_cut_before(self) -> list[NodeProto]:
        """Return the nodes, in order, whose values are read at cut positions alone, and need no others for that."""
        found = {id(cut) for cut in self.cuts}
        how = {operand for cut in self.cuts for operand in cut.input[1:]}
        taken: list[NodeProto] = []
        for node in reversed(self._graph.node):
            readers = [reader for output in node.output for reader in self._readers.get(output, [])]
            if (
                readers
                and all(id(reader) in found for reader in readers)
                and (self._given | how).isdisjoint(node.output)
                and self._is_by_position(node)
            ):
                found.add(id(node))
                taken.append(node)
        return taken[::-1]

    def _is_by_position(self, node: NodeProto) -> bool:
        domain = "" if node.domain in ONNX_DOMAINS else node.domain
        if all(self._is_constant(operand) for operand in node.input):
            return False
        if domain == "" and node.op_type == "Split":
            return attributes_of(node).get("axis") == -1
        if node.op_type in _ELEMENTWISE and not all(map(self._has_no_positions, node.input)):
            return False
        return node.op_type in _BY_POSITION.get(domain, ())

    def _has_no_positions(self, operand: str) -> bool:
        """Whether an operand, if it is constant, is the same for each position."""
        tensor = self._initializers.get(operand)
        return tensor is None or len(tensor.dims) < 2 or set(tensor.dims[:-1]) == {1}

    def _has_positions(self, value: str) -> bool:
        producer = self._producers.get(value)
        return producer is not None and producer.op_type in _BEHIND_POSITIONS

    def _is_constant(self, value: str) -> bool:
        if not value or value in self._initializers:
            return True
        producer = self._producers.get(value)
        return (
            producer is not None
            and len(producer.input) > 0
            and all(each in self._initializers for each in producer.input)
        )
