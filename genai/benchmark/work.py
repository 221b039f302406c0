"""What one token asks of a graph: multiplications, weights and cache to read, as the ONNX files have them.

Counted are the constants that products read (MatMul and its kin, experts, convolutions) and the rows that are looked up;
norms, and attention's own products, are left out. A mixture's experts count by the share of them that a token chooses.
Where a graph does not tell, there is no number instead of a wrong one.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from onnx import GraphProto, NodeProto, TensorProto, helper

from genai.evaluation.graphs import INT8_ACTIVATIONS, FolderGraphs, nodes_of, num_bytes_of
from genai.folder import StageConfig
from genai.graph.names import KEY, LOGITS, VALUE, parse_past
from genai.graph.operators import MATMUL_NBITS, MOE, QMOE, SHARING_OPERATORS

__all__ = ["CacheRead", "Work", "work_of"]

_INT8_PRODUCTS = frozenset(
    {"DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm", "QLinearMatMul"}
)
_FLOAT_PRODUCTS = frozenset({"Conv", "CausalConvWithState", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"})
_NBIT_PRODUCTS = frozenset({MATMUL_NBITS.op_type, "MatMulBnb4"})
_EXPERTS = frozenset({MOE.op_type, QMOE.op_type})
_PRODUCTS = _INT8_PRODUCTS | _FLOAT_PRODUCTS | _NBIT_PRODUCTS | _EXPERTS
_ATTENTIONS = frozenset(
    {"Attention", "MultiHeadAttention", *(operator.op_type for operator in SHARING_OPERATORS)}
)
_LOOK_UPS = frozenset({"Gather", "GatherBlockQuantized"})
_ROW_LOOK_UPS = frozenset({"Gather", "GatherElements", "GatherND"})
_SCATTERS = frozenset({"ScatterElements", "ScatterND"})
_FORWARDED = frozenset(
    {"Cast", "DequantizeLinear", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""What gives a constant another form, so that its bytes are what is read."""
_MAX_ROUTE_NODES = 64
_NUM_EXPERT_AXES = 3
_NUM_CACHE_AXES = 4
"""Sequences, heads, positions, widths of heads."""


@dataclass(frozen=True, slots=True)
class CacheRead:
    """What of the cache a token reads.

    Args:
        windows: Bytes of a position, by how many positions at most are read; None is all of them.
        state_bytes: Bytes of states, whatever the past.
    """

    windows: Mapping[int | None, int] = field(default_factory=dict)
    state_bytes: int = 0

    def num_bytes(self, past: int) -> int:
        """Return the bytes that a token reads behind so many."""
        rows = (min(past, limit or past) * size for limit, size in self.windows.items())
        return self.state_bytes + sum(rows)


@dataclass(frozen=True, slots=True)
class Work:
    """What one token costs one sequence.

    Args:
        weight_bytes: Weights that a decoding step reads.
        int8_macs: Multiplications by weights of what was rounded to 8 bits, but for the head.
        float_macs: Those of floats, but for the head.
        head_int8_macs: Those of the language-model head, which a prompt runs once.
        head_float_macs: The same of floats.
        cache: What of the cache a step reads; None where the graph does not tell.
    """

    weight_bytes: int = 0
    int8_macs: int = 0
    float_macs: int = 0
    head_int8_macs: int = 0
    head_float_macs: int = 0
    cache: CacheRead | None = None

    @property
    def macs(self) -> int:
        """Multiplications by weights of a decoding step."""
        return self.int8_macs + self.float_macs + self.head_int8_macs + self.head_float_macs

    def plus(self, other: Work) -> Work:
        """Return the work of both, without a cache."""
        return Work(
            *(
                getattr(self, each.name) + getattr(other, each.name)
                for each in dataclasses.fields(Work)
                if each.name != "cache"
            )
        )


def work_of(graphs: FolderGraphs, stages: Sequence[StageConfig] = ()) -> Work | None:
    """Return what a token costs; None where the graphs do not tell.

    That is so, too, where prompts and generated tokens run through different ones of the stages.
    """
    if any(stage.run_on_prompt != stage.run_on_token_gen for stage in stages):
        return None
    total = Work()
    logits = graphs.outputs[LOGITS].name if LOGITS in graphs.outputs else LOGITS
    for model in graphs.models.values():
        found = _GraphWork(model.graph, logits).count()
        if found is None:
            return None
        total = total.plus(found)
    return dataclasses.replace(total, cache=_cache_read(graphs))


@dataclass(frozen=True, slots=True)
class _Stored:
    """A constant as a node reads it: one that is cast has been cast when the graph was loaded."""

    dims: tuple[int, ...]
    data_type: int
    num_bytes: int

    @classmethod
    def of(cls, tensor: TensorProto) -> _Stored:
        return cls(tuple(tensor.dims), tensor.data_type, num_bytes_of(tensor))

    def cast(self, data_type: int) -> _Stored:
        itemsize = helper.tensor_dtype_to_np_dtype(data_type).itemsize
        return _Stored(self.dims, data_type, prod(self.dims) * itemsize)


class _GraphWork:
    """Counts one graph, in the order of its nodes; `logits` is what its output of them is called."""

    def __init__(self, graph: GraphProto, logits: str) -> None:
        self._graph = graph
        self._producers: dict[str, NodeProto] = {
            output: node for node in graph.node for output in node.output
        }
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._constants |= {
            node.output[0]: attribute.t
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "Constant" and attribute.name == "value"
        }
        self._sources: dict[str, tuple[_Stored, ...]] = {
            name: (_Stored.of(tensor),) for name, tensor in self._constants.items()
        }
        self._computed_weights: set[str] = set()
        self._shares: dict[str, float | None] = {}
        self._head = self._find_head(logits)

    def count(self) -> Work | None:
        """Return what was counted, without the cache; None if it cannot be told."""
        num_bytes = 0.0
        macs: dict[tuple[bool, bool], float] = defaultdict(float)  # by whether of the head, and in int8
        for node in self._graph.node:
            if any(inner.op_type in _PRODUCTS for graph in _subgraphs(node) for inner in nodes_of(graph)):
                return None
            self._follow(node)
            if node.op_type in _LOOK_UPS:
                num_bytes += self._looked_up_bytes(node)
            if node.op_type not in _PRODUCTS:
                continue
            weights, share = self._weights(node), self._share(node)
            if weights is None or (weights and share is None):
                return None
            if weights and share is not None:
                num_bytes += share * sum(each.num_bytes for each in weights)
                macs[node is self._head, _is_int8(node)] += share * self._macs(node, weights)
        return Work(
            weight_bytes=round(num_bytes),
            int8_macs=round(macs[False, True]),
            float_macs=round(macs[False, False]),
            head_int8_macs=round(macs[True, True]),
            head_float_macs=round(macs[True, False]),
        )

    def _follow(self, node: NodeProto) -> None:
        """Note what a node's outputs are made of, and of which share of the tokens."""
        inputs = [name for name in node.input if name]
        known = [self._sources[name] for name in inputs if name in self._sources]
        if inputs and len(known) == len(inputs) and node.op_type in _FORWARDED:
            stored = tuple(itertools.chain.from_iterable(known))
            target = next((each.i for each in node.attribute if each.name == "to"), None)
            self._sources[node.output[0]] = (
                stored if target is None else tuple(each.cast(target) for each in stored)
            )
        elif self._computes_weights(node, inputs):
            self._computed_weights.update(node.output)
        shares = [self._shares.get(name, 1.0) for name in inputs]
        if node.op_type in _SCATTERS:
            shares = shares[:1]
        elif node.op_type in _ROW_LOOK_UPS and len(inputs) > 1:
            shares.append(self._routed_share(inputs[1]))
        share = None if None in shares else min((s for s in shares if s is not None), default=1.0)
        if share != 1.0:
            self._shares |= dict.fromkeys(node.output, share)

    def _computes_weights(self, node: NodeProto, inputs: Sequence[str]) -> bool:
        """Whether a node makes weights of weights, or chooses among matrices that lie in one constant.

        How many bytes a product reads of those, the graph does not say.
        """
        if inputs and all(name in self._sources or name in self._computed_weights for name in inputs):
            return True
        stacked = self._sources.get(inputs[0]) if node.op_type in _LOOK_UPS and inputs else None
        return stacked is not None and len(stacked[0].dims) > 2

    def _looked_up_bytes(self, node: NodeProto) -> float:
        """Return the bytes of one row of a table, with its scales."""
        names = [name for place, name in enumerate(node.input) if name and place != 1]
        if node.input[1] in self._sources or not all(name in self._sources for name in names):
            return 0.0
        parts = itertools.chain.from_iterable(self._sources[name] for name in names)
        return sum(part.num_bytes / part.dims[0] for part in parts if part.dims and part.dims[0])

    def _weights(self, node: NodeProto) -> list[_Stored] | None:
        """Return the constants that a product reads, its biases and scales too; None if they are computed in the graph."""
        if any(name in self._computed_weights for name in node.input):
            return None
        return [stored for name in node.input for stored in self._sources.get(name, ())]

    def _macs(self, node: NodeProto, weights: Sequence[_Stored]) -> int:
        """Return the multiplications of one row: the elements of the matrices, without scales, zero points and biases."""
        attributes: dict[str, int] = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type in _NBIT_PRODUCTS:
            return attributes["K"] * attributes["N"]
        if node.op_type == QMOE.op_type:
            per_byte = 8 // attributes.get("expert_weight_bits", 4)
            operands = {QMOE.find(f"fc{number}_experts_weights", node.input) for number in (1, 2, 3)}
            codes = (self._sources[name][0] for name in operands if name in self._sources)
            return per_byte * sum(prod(each.dims) for each in codes)
        if node.op_type == MOE.op_type:
            return sum(prod(each.dims) for each in weights if len(each.dims) == _NUM_EXPERT_AXES)
        return max(prod(each.dims) for each in weights)

    def _share(self, node: NodeProto) -> float | None:
        """Return how many of a product's weights one token reads, on average; None if nobody can tell."""
        share = self._shares.get(node.input[0], 1.0)
        if node.op_type not in _EXPERTS or share is None:
            return share
        chosen = next((attribute.i for attribute in node.attribute if attribute.name == "k"), 1)
        matrices = self._sources.get(node.input[2])
        return share * chosen / matrices[0].dims[0] if matrices else None

    def _routed_share(self, indices: str) -> float | None:
        """Return the share of the tokens that indices choose; 1 if they are not a router's, None if it does not say.

        A router that this can read takes the best (TopK) of all experts, which are split apart afterwards.
        """
        chosen, experts, is_routed = None, None, False
        waiting, seen = [indices], set[str]()
        while waiting and len(seen) < _MAX_ROUTE_NODES:
            name = waiting.pop()
            node = self._producers.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            is_routed |= node.op_type == "NonZero"
            if node.op_type == "Split":
                experts = experts or len(node.output)
            if node.op_type == "TopK":
                chosen = self._integer(node.input[1])
                continue
            waiting.extend(node.input)
        if not is_routed:
            return 1.0
        return chosen / experts if chosen and experts else None

    def _integer(self, name: str) -> int | None:
        tensor = self._constants.get(name)
        if tensor is None or prod(tensor.dims) != 1 or tensor.data_type != TensorProto.INT64:
            return None
        return tensor.int64_data[0] if tensor.int64_data else int.from_bytes(tensor.raw_data, "little")

    def _find_head(self, logits: str) -> NodeProto | None:
        """Return the product that is nearest before the logits."""
        waiting, seen = deque([logits]), set[str]()
        while waiting:
            node = self._producers.get(waiting.popleft())
            if node is None or node.output[0] in seen:
                continue
            if node.op_type in _PRODUCTS:
                return node
            seen.add(node.output[0])
            waiting.extend(node.input)
        return None


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        yield from ([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _is_int8(node: NodeProto) -> bool:
    """Whether a product rounds what it multiplies to 8 bits; QMoE's of 8-bit weights always does."""
    if node.op_type in _INT8_PRODUCTS:
        return True
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    is_eight = node.op_type == QMOE.op_type and attributes.get("expert_weight_bits", 4) == 8
    return is_eight or bool(attributes.get("accuracy_level", 0) == INT8_ACTIVATIONS)


def _cache_read(graphs: FolderGraphs) -> CacheRead | None:
    """Return what a token reads of the cache; None where its axes do not tell the heads from the positions."""
    pasts = [
        (state, value) for name, value in graphs.inputs.items() if (state := parse_past(name)) is not None
    ]
    windows: dict[int | None, int] = {}
    state_bytes = 0
    for state, value in pasts:
        tensor = value.type.tensor_type
        axes = list(tensor.shape.dim)[1:]
        num_bytes = prod(axis.dim_value for axis in axes if axis.dim_value)
        num_bytes *= helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
        num_named = sum(not axis.dim_value for axis in axes)
        if num_named == 0 and axes:
            state_bytes += num_bytes
        elif num_named == 1 and len(axes) == _NUM_CACHE_AXES - 1 and state.part in (KEY, VALUE, ""):
            for limit in _windows_of(graphs, value.name):
                windows[limit] = windows.get(limit, 0) + num_bytes
        else:
            return None
    return CacheRead(windows, state_bytes) if pasts else None


def _windows_of(graphs: FolderGraphs, name: str) -> list[int | None]:
    """Return how many positions each attention that reads a past sees; [None], for all, where plain operators read it."""
    windows: list[int | None] = []
    for model in graphs.models.values():
        for node in nodes_of(model.graph):
            if name in node.input and node.op_type in _ATTENTIONS:
                attributes = {attribute.name: attribute.i for attribute in node.attribute}
                window = attributes.get("local_window_size", -1)
                windows.append(window if window > 0 else None)
    return windows or [None]
