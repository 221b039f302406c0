"""The sampler as a small ONNX model that runs where the logits are, so that a step brings back a token and not logits.

It covers temperature, top_k, top_p and min_p with the options of each row as inputs, greedy rows among sampled ones;
everything with a history (penalties, bans), typical_p and top_logprobs stays on the host: `Sampler.fits_graph` tells.
It equals `processors` step by step, in the same precisions, with the same uniforms: it draws the same tokens, unless
a uniform falls within a rounding of `exp` of a border between two tokens.

Only operators that ONNX Runtime has for both CPU and CUDA. Its CUDA CumSum adds up each output from scratch, which
takes n**2 / 2 additions; here cumulative sums are therefore taken within blocks and over the blocks' totals. Inputs
`top_p` and `uniform`, and the sums, are float64: float32 has too few numbers to draw from a large vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

from genai.sampling.sampler import GREEDY_TEMPERATURE

__all__ = ["build_sampler_graph"]

_OPSET = 21
_IR_VERSION = 10
_BLOCK = 512
_LOGITS_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}


def build_sampler_graph(
    vocab_size: int,
    *,
    logits_type: Literal["float32", "float16", "bfloat16"] = "float32",
    logits_rank: Literal[2, 3] = 3,
    max_top_k: int | None = None,
    logprobs: bool = False,
) -> bytes:
    """Build the sampler graph, an ONNX ModelProto as bytes.

    Inputs, one value per row (B rows):
        logits: [B, 1, V], or [B, V] with `logits_rank=2`.
        temperature: float32 [B]; below `GREEDY_TEMPERATURE` the row is greedy and its other options do not matter.
        top_k: int64 [B]; 0, or more than there are candidates, keeps all candidates.
        top_p: float64 [B]; 1 keeps all.
        min_p: float32 [B]; 0 keeps all.
        uniform: float64 [B], in [0, 1): `Sampler.uniform`.

    Outputs:
        token_ids: int64 [B, 1], fit to be the next step's input_ids; -1 where the row's logits hold NaN or +inf, or
            are all -inf, which `Sampler.sample` refuses.
        logprobs: float32 [B, 1], if asked for: the token's log-softmax of the raw logits.

    Args:
        vocab_size: V.
        logits_type: Element type of the input; all computing is in float32 and float64.
        logits_rank: Rank of the input.
        max_top_k: Look only at so many candidates, which spares sorting the whole vocabulary: for rows with
            1 <= top_k <= max_top_k (and greedy ones). Of tokens equal to the last candidate only the first stay.
        logprobs: Whether to give the tokens' log-probabilities.

    >>> len(build_sampler_graph(32000)) < 10_000
    True
    """
    num_candidates = min(max_top_k or vocab_size, vocab_size)
    g = _Graph()
    raw = g.add("Reshape", g.add("Cast", "logits", to=TensorProto.FLOAT), g.int64(-1, vocab_size))
    is_nan = g.add("IsNaN", raw)
    clean = g.add("Where", is_nan, g.float32(-np.inf), raw)

    temperature = g.add("Unsqueeze", "temperature", g.int64(1))
    is_greedy = g.add("Less", temperature, g.float32(GREEDY_TEMPERATURE))
    scores = g.add("Div", clean, g.add("Where", is_greedy, g.float32(1.0), temperature))
    # Descending, equal ones by ascending id: every filter keeps a leading part of the candidates.
    candidates, ids = g.add_many("TopK", scores, g.int64(num_candidates), num_outputs=2, axis=1)
    peak = g.first(candidates)
    weights = _filter(g, candidates, peak, num_candidates)
    by_id = g.add("ScatterElements", g.zeros_like(scores), ids, weights, axis=1)
    token_ids = g.add("Where", is_greedy, g.first(ids), _draw(g, by_id, vocab_size))

    num_nan = g.add("ReduceSum", g.add("Cast", is_nan, to=TensorProto.FLOAT), g.int64(1))
    largest = g.float32(np.finfo(np.float32).max)
    bad_peak = g.add("Greater", g.add("Abs", peak), largest)
    is_bad = g.add("Or", bad_peak, g.add("Greater", num_nan, g.float32(0.0)))
    g.add("Where", is_bad, g.int64(-1), token_ids, output="token_ids")
    outputs = [helper.make_tensor_value_info("token_ids", TensorProto.INT64, ["batch", 1])]
    if logprobs:
        _add_logprobs(g, clean, "token_ids")
        outputs.append(helper.make_tensor_value_info("logprobs", TensorProto.FLOAT, ["batch", 1]))

    shape: list[str | int | None] = ["batch", vocab_size] if logits_rank == 2 else ["batch", 1, vocab_size]
    inputs = [
        helper.make_tensor_value_info("logits", _LOGITS_TYPES[logits_type], shape),
        helper.make_tensor_value_info("temperature", TensorProto.FLOAT, ["batch"]),
        helper.make_tensor_value_info("top_k", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("top_p", TensorProto.DOUBLE, ["batch"]),
        helper.make_tensor_value_info("min_p", TensorProto.FLOAT, ["batch"]),
        helper.make_tensor_value_info("uniform", TensorProto.DOUBLE, ["batch"]),
    ]
    return g.serialize(inputs, outputs)


def _filter(g: _Graph, candidates: str, peak: str, num_candidates: int) -> str:
    """Return the weights of the candidates, float32 [B, C], 0 where a filter removes one."""
    k = g.add("Unsqueeze", "top_k", g.int64(1))
    out_of_range = g.add(
        "Or", g.add("LessOrEqual", k, g.int64(0)), g.add("Greater", k, g.int64(num_candidates))
    )
    k = g.add("Where", out_of_range, g.int64(num_candidates), k)
    kth = g.add("GatherElements", candidates, g.add("Sub", k, g.int64(1)), axis=1)
    in_top_k = g.add("GreaterOrEqual", candidates, kth)
    zero = g.float32(0.0)
    weights = g.add("Where", in_top_k, g.add("Exp", g.add("Sub", candidates, peak)), zero)

    total = g.add("ReduceSum", g.add("Cast", weights, to=TensorProto.DOUBLE), g.int64(1))
    probabilities = g.add("Div", weights, g.add("Cast", total, to=TensorProto.FLOAT))
    # The probability of a candidate and of all that are less likely.
    tails = _cumsum(g, g.add("Cast", probabilities, to=TensorProto.DOUBLE), num_candidates, reverse=True)
    tail = g.add("Sub", g.float64(1.0), g.add("Unsqueeze", "top_p", g.int64(1)))
    above_tail = g.add(
        "Greater", g.add("Cast", tails, to=TensorProto.FLOAT), g.add("Cast", tail, to=TensorProto.FLOAT)
    )
    others = g.add("Slice", above_tail, g.int64(1), g.int64(num_candidates), g.int64(1))
    in_top_p = g.add("Concat", g.add("Equal", peak, peak), others, axis=1)  # the first always stays

    in_min_p = g.add("GreaterOrEqual", weights, g.add("Unsqueeze", "min_p", g.int64(1)))
    return g.add("Where", g.add("And", in_top_p, in_min_p), weights, zero)


def _draw(g: _Graph, weights: str, vocab_size: int) -> str:
    """Return the first tokens whose cumulative weight exceeds uniform * total, int64 [B, 1], as `processors.draw`."""
    sums = _cumsum(g, g.add("Cast", weights, to=TensorProto.DOUBLE), vocab_size)
    total = g.add("Slice", sums, g.int64(-1), g.int64(vocab_size), g.int64(1))
    target = g.add("Mul", g.add("Unsqueeze", "uniform", g.int64(1)), total)
    reached = g.add("Or", g.add("Greater", sums, target), g.add("GreaterOrEqual", sums, total))
    # Sums never fall, so the tokens before the drawn one are those that have not reached it; exact below 2**24.
    before = g.add("Cast", g.add("Not", reached), to=TensorProto.FLOAT)
    return g.add("Cast", g.add("ReduceSum", before, g.int64(1)), to=TensorProto.INT64)


def _cumsum(g: _Graph, values: str, size: int, *, reverse: bool = False) -> str:
    """Return the cumulative sums of float64 [B, size] along its rows, from the end if reverse."""
    num_blocks = -(-size // _BLOCK)
    padding = num_blocks * _BLOCK - size
    if padding:
        values = g.add("Pad", values, g.int64(0, 0, 0, padding))
    blocks = g.add("Reshape", values, g.int64(-1, num_blocks, _BLOCK))
    within = g.add("CumSum", blocks, g.int64_scalar(2), reverse=int(reverse))
    # An end of a block's sums is its total: added to the blocks before, it cannot exceed the next block's sums.
    totals = g.add("Gather", within, g.int64(0 if reverse else _BLOCK - 1), axis=2)
    before = g.add("CumSum", totals, g.int64_scalar(1), exclusive=1, reverse=int(reverse))
    sums = g.add("Reshape", g.add("Add", within, before), g.int64(-1, num_blocks * _BLOCK))
    return g.add("Slice", sums, g.int64(0), g.int64(size), g.int64(1)) if padding else sums


def _add_logprobs(g: _Graph, logits: str, token_ids: str) -> None:
    """Add the output logprobs, float32 [B, 1]."""
    peak = g.add("ReduceMax", logits, g.int64(1))
    shifted = g.add("Sub", logits, peak)
    weights = g.add("Cast", g.add("Exp", shifted), to=TensorProto.DOUBLE)
    log_total = g.add("Cast", g.add("Log", g.add("ReduceSum", weights, g.int64(1))), to=TensorProto.FLOAT)
    chosen = g.add("GatherElements", shifted, token_ids, axis=1)
    g.add("Sub", chosen, log_total, output="logprobs")


class _Graph:
    """Nodes and constants under construction; values are known by name."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Any] = {}

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        name = output or f"{op}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def add_many(self, op: str, *inputs: str, num_outputs: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs and return their names."""
        names = [f"{op}_{len(self._nodes)}_{i}" for i in range(num_outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), names, name=f"node_{names[0]}", **attributes))
        return names

    def first(self, values: str) -> str:
        """Take the first column of [B, n], as [B, 1]."""
        return self.add("Slice", values, self.int64(0), self.int64(1), self.int64(1))

    def zeros_like(self, values: str) -> str:
        """Return float32 zeros of the same shape."""
        return self.add("ConstantOfShape", self.add("Shape", values))

    def constant(self, value: NDArray[Any]) -> str:
        """Return the name of a constant; equal ones are stored once."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(value, f"constant_{len(self._constants)}")
        name: str = self._constants[key].name
        return name

    def int64(self, *values: int) -> str:
        """Return an int64 vector."""
        return self.constant(np.array(values, np.int64))

    def int64_scalar(self, value: int) -> str:
        """Return an int64 of rank 0."""
        return self.constant(np.array(value, np.int64))

    def float32(self, value: float | np.floating[Any]) -> str:
        """Return a float32 of rank 0."""
        return self.constant(np.array(value, np.float32))

    def float64(self, value: float) -> str:
        """Return a float64 of rank 0."""
        return self.constant(np.array(value, np.float64))

    def serialize(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> bytes:
        """Return the checked model."""
        graph = helper.make_graph(self._nodes, "sampler", inputs, outputs, list(self._constants.values()))
        model = helper.make_model(
            graph,
            producer_name="genai",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET)],
        )
        checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString()
        return data
