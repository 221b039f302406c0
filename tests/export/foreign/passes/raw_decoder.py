"""A tiny decoder as a generic exporter writes it: basic operators, and a cache that grows by concatenation.

Spelled by hand, so that each spelling of a mask, a scale or a norm can be chosen, wrong ones included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

VOCAB_SIZE, NUM_LAYERS, HEAD_DIM = 61, 2, 8
NUM_STORED = 64
"""Positions that stored tables have."""

LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Spelling:
    """How the decoder is written.

    Args:
        num_heads: Of queries.
        num_kv_heads: Of keys and values.
        mask: "where" (on the scores), "additive", or something that is no causal mask: "chunked", "prefix", "none",
            "bidirectional"; "trimmed" drops all but the last 90 keys; "stored" is a causal one that is looked up in a table.
        window: How many keys a query sees; 0 for all.
        alibi: The biases' form: "", "linear", "quadratic", or "stored", a linear one in a table.
        scale: Where it is: "after", "split" over query and key, or "query".
        softcap: Of the scores; 0.0 without.
        flat: Whether batch and heads share an axis in the products.
        guard: Whether rows without a visible key are zeroed behind the softmax.
        positions: Where the rotation's positions come from: "input", "mask", "past", "clamped" (at 90) or
            "longest" (times the largest).
        rotation: "half", "interleaved", "partial", or "mirrored", which is none.
        flat_products: Whether the feed-forward products have rows and positions in one axis.
        norm: "rms", "rms_div", "rms_pow", "layer" or "centered".
        head: "plain", "capped", or "mixed", which is not position by position.
        reads_mask: Whether the embeddings are multiplied by the mask, as no decoder with lengths alone can.
        opset: Of the graph.
    """

    num_heads: int = 4
    num_kv_heads: int = 2
    mask: str = "where"
    window: int = 0
    alibi: str = ""
    scale: str = "after"
    softcap: float = 0.0
    flat: bool = False
    guard: bool = False
    positions: str = "input"
    rotation: str = "half"
    flat_products: bool = False
    norm: str = "rms"
    head: str = "plain"
    reads_mask: bool = False
    opset: int = 20


@dataclass
class RawGraph:
    """A graph under construction."""

    nodes: list[ir.Node] = field(default_factory=list)
    initializers: list[ir.Value] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def op(self, op_type: str, *inputs: ir.Value | float | list[int] | None, **attributes: Any) -> ir.Value:
        operands = [
            value if value is None or isinstance(value, ir.Value) else self.constant(value)
            for value in inputs
        ]
        node = ir.node(op_type, operands, attributes=attributes)
        node.outputs[0].name = f"v{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, value: Any) -> ir.Value:
        if not isinstance(value, np.ndarray):
            value = np.asarray(value, np.float32 if isinstance(value, float) else np.int64)
        name = f"c{len(self.initializers)}"
        tensor = ir.tensor(value, name=name)
        self.initializers.append(
            ir.Value(
                name=name, shape=ir.Shape(value.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
        )
        return self.initializers[-1]

    def weight(self, *shape: int, scale: float = 0.3) -> ir.Value:
        return self.constant((self.random.standard_normal(shape) * scale).astype(np.float32))


def build(spelling: Spelling) -> ir.Model:
    """Return the decoder with the canonical names of inputs and outputs."""
    g, width = RawGraph(), spelling.num_heads * HEAD_DIM
    inputs = {
        "input_ids": _input("input_ids", ir.DataType.INT64, ["b", "s"]),
        "attention_mask": _input("attention_mask", ir.DataType.INT64, ["b", "t"]),
    }
    if spelling.positions == "input":
        inputs["position_ids"] = _input("position_ids", ir.DataType.INT64, ["b", "s"])
    for layer in range(NUM_LAYERS):
        for part in ("key", "value"):
            name = f"past_key_values.{layer}.{part}"
            inputs[name] = _input(name, ir.DataType.FLOAT, ["b", spelling.num_kv_heads, "p", HEAD_DIM])
    hidden = g.op("Gather", g.weight(VOCAB_SIZE, width, scale=1.0), inputs["input_ids"])
    if spelling.reads_mask:
        last = g.op("Slice", inputs["attention_mask"], [-1], [2**62], [1])
        hidden = g.op("Mul", hidden, g.op("Cast", g.op("Unsqueeze", last, [2]), to=ir.DataType.FLOAT))
    mask = _mask(g, spelling, inputs)
    rotation = _rotation(g, spelling, inputs)
    outputs = []
    for layer in range(NUM_LAYERS):
        past = (inputs[f"past_key_values.{layer}.key"], inputs[f"past_key_values.{layer}.value"])
        attended, presents = _attention(g, spelling, _norm(g, spelling, hidden), past, mask, rotation)
        for part, present in zip(("key", "value"), presents, strict=True):
            present.name = f"present.{layer}.{part}"
            outputs.append(present)
        hidden = g.op("Add", hidden, attended)
        up = _linear(g, spelling, _norm(g, spelling, hidden), width, 2 * width)
        activated = g.op("Mul", up, g.op("Sigmoid", up))
        hidden = g.op("Add", hidden, _linear(g, spelling, activated, 2 * width, width))
    logits = _head(g, spelling, _norm(g, spelling, hidden), width)
    logits.name = "logits"
    for value in (logits, *outputs):
        value.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        list(inputs.values()),
        [logits, *outputs],
        nodes=g.nodes,
        initializers=g.initializers,
        opset_imports={"": spelling.opset},
        name="raw",
    )
    return ir.Model(graph, ir_version=9)


def _input(name: str, dtype: ir.DataType, shape: list[int | str]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))


def _sizes(g: RawGraph, inputs: dict[str, ir.Value]) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Past, new and total lengths, int64 []."""
    past = g.op("Gather", g.op("Shape", inputs["past_key_values.1.value"]), 2)
    new = g.op("Gather", g.op("Shape", inputs["input_ids"]), 1)
    return past, new, g.op("Add", past, new)


def _mask(g: RawGraph, spelling: Spelling, inputs: dict[str, ir.Value]) -> ir.Value:
    """Which keys a query sees, bool [b, 1, s, t]."""
    past, new, total = _sizes(g, inputs)
    queries = g.op("Unsqueeze", g.op("Add", g.op("Range", 0, new, 1), past), [1])
    keys = g.op("Unsqueeze", g.op("Range", 0, total, 1), [0])
    visible = g.op("LessOrEqual", keys, queries)
    if spelling.mask == "bidirectional":
        visible = g.op("LessOrEqual", keys, g.op("Add", queries, 1))
    if spelling.mask == "stored":
        table = g.constant(np.tri(NUM_STORED, dtype=np.bool_))
        rows = g.op("Slice", table, g.op("Unsqueeze", past, [0]), g.op("Unsqueeze", total, [0]), [0])
        visible = g.op("Slice", rows, [0], g.op("Unsqueeze", total, [0]), [1])
    if spelling.mask == "chunked":
        same = g.op("Equal", g.op("Div", keys, 100), g.op("Div", queries, 100))
        visible = g.op("And", visible, same)
    if spelling.mask == "prefix":
        visible = g.op("Or", visible, g.op("Less", keys, 3))
    if spelling.window:
        distance = g.op("Sub", queries, keys)
        visible = g.op("And", visible, g.op("Less", distance, spelling.window))
    padding = g.op("Cast", g.op("Unsqueeze", inputs["attention_mask"], [1, 2]), to=ir.DataType.BOOL)
    return g.op("And", g.op("Unsqueeze", visible, [0, 1]), padding)


def _rotation(g: RawGraph, spelling: Spelling, inputs: dict[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """Cosines and sines [b or 1, 1, s, HEAD_DIM]."""
    past, new, _ = _sizes(g, inputs)
    if spelling.positions == "input":
        positions = inputs["position_ids"]
    elif spelling.positions == "mask":
        counted = g.op("Sub", g.op("CumSum", inputs["attention_mask"], 1), 1)
        start = g.op("Unsqueeze", past, [0])
        positions = g.op("Slice", counted, start, [2**62], [1])
    else:
        positions = g.op("Add", g.op("Range", 0, new, 1), past)
        if spelling.positions == "clamped":
            positions = g.op("Min", positions, 90)
        positions = g.op("Unsqueeze", positions, [0])
    if spelling.positions == "longest":
        positions = g.op("Mul", positions, g.op("ReduceMax", positions, keepdims=0))
    width = HEAD_DIM // 2 if spelling.rotation == "partial" else HEAD_DIM
    frequencies = 1.0 / 10 ** (np.arange(width // 2, dtype=np.float32) / 3)
    repeated = np.repeat(frequencies, 2) if spelling.rotation == "interleaved" else np.tile(frequencies, 2)
    angles = g.op(
        "Mul", g.op("Cast", g.op("Unsqueeze", positions, [2]), to=ir.DataType.FLOAT), g.constant(repeated)
    )
    angles = g.op("Unsqueeze", angles, [1])
    return g.op("Cos", angles), g.op("Sin", angles)


def _attention(
    g: RawGraph,
    spelling: Spelling,
    x: ir.Value,
    past: tuple[ir.Value, ir.Value],
    mask: ir.Value,
    rotation: tuple[ir.Value, ir.Value],
) -> tuple[ir.Value, tuple[ir.Value, ir.Value]]:
    width = spelling.num_heads * HEAD_DIM
    query = _rotate(g, spelling, _heads(g, x, width, spelling.num_heads), rotation)
    key = _rotate(g, spelling, _heads(g, x, width, spelling.num_kv_heads), rotation)
    value = _heads(g, x, width, spelling.num_kv_heads)
    key, value = g.op("Concat", past[0], key, axis=-2), g.op("Concat", past[1], value, axis=2)
    seen_key, seen_value = key, value
    if spelling.mask == "trimmed":
        seen_key, seen_value = (g.op("Slice", cache, [-90], [2**62], [2]) for cache in (key, value))
        mask = g.op("Slice", mask, [-90], [2**62], [3])
    weights = _softmax(g, spelling, query, _repeat(g, spelling, seen_key), mask)
    values = _repeat(g, spelling, seen_value)
    if spelling.flat:
        values = g.op("Reshape", values, g.op("Concat", _rows(g, spelling, values), [-1], [HEAD_DIM], axis=0))
    attended = g.op("MatMul", weights, values)
    if spelling.flat:
        shape = g.op(
            "Concat", [-1], [spelling.num_heads], g.op("Shape", x, start=1, end=2), [HEAD_DIM], axis=0
        )
        attended = g.op("Reshape", attended, shape)
    if spelling.guard:
        seen = g.op("ReduceSum", g.op("Cast", mask, to=ir.DataType.FLOAT), [-1], keepdims=1)
        attended = g.op("Where", g.op("Less", seen, 1.0), 0.0, attended)
    attended = g.op("Reshape", g.op("Transpose", attended, perm=[0, 2, 1, 3]), [0, 0, -1])
    return g.op("MatMul", attended, g.weight(width, width)), (key, value)


def _softmax(g: RawGraph, spelling: Spelling, query: ir.Value, key: ir.Value, mask: ir.Value) -> ir.Value:
    """Attention weights [b, h, s, t], or with the first two axes in one."""
    scale = HEAD_DIM**-0.5
    if spelling.scale == "split":
        query, key = g.op("Mul", query, scale**0.5), g.op("Mul", key, scale**0.5)
    if spelling.scale == "query":
        query = g.op("Div", query, 1 / scale)
    shape = g.op("Shape", query)
    if spelling.flat:
        rows = _rows(g, spelling, query)
        query = g.op("Reshape", query, g.op("Concat", rows, [-1], [HEAD_DIM], axis=0))
        key = g.op("Reshape", key, g.op("Concat", rows, [-1], [HEAD_DIM], axis=0))
    perm = [0, 2, 1] if spelling.flat else [0, 1, 3, 2]
    scores = g.op("MatMul", query, g.op("Transpose", key, perm=perm))
    if spelling.scale == "after":
        scores = g.op("Mul", scores, scale)
    if spelling.softcap:
        scores = g.op("Mul", g.op("Tanh", g.op("Div", scores, spelling.softcap)), spelling.softcap)
    if spelling.flat:
        leading = g.op("Slice", shape, [0], [3])
        scores = g.op("Reshape", scores, g.op("Concat", leading, [-1], axis=0))
    if spelling.alibi:
        scores = g.op("Add", scores, _alibi(g, spelling, mask))
    if spelling.mask == "where":
        scores = g.op("Where", mask, scores, LOWEST)
    elif spelling.mask != "none":
        scores = g.op("Add", scores, g.op("Where", mask, 0.0, LOWEST))
    weights = g.op("Softmax", scores, axis=-1)
    if spelling.flat:
        rows = _rows(g, spelling, weights)
        length = g.op("Shape", weights, start=2, end=3)
        weights = g.op("Reshape", weights, g.op("Concat", rows, length, [-1], axis=0))
    return weights


def _alibi(g: RawGraph, spelling: Spelling, mask: ir.Value) -> ir.Value:
    """A bias that grows with the key's position, [h, 1, t]."""
    total = g.op("Squeeze", g.op("Shape", mask, start=3, end=4), [0])
    slopes = 2.0 ** -np.arange(1, spelling.num_heads + 1, dtype=np.float32)
    if spelling.alibi == "stored":
        table = g.constant(slopes.reshape(-1, 1, 1) * np.arange(1 - NUM_STORED, 1, dtype=np.float32))
        return g.op("Slice", table, g.op("Neg", g.op("Unsqueeze", total, [0])), [2**62], [2])
    keys = g.op("Cast", g.op("Range", 0, total, 1), to=ir.DataType.FLOAT)
    if spelling.alibi == "quadratic":
        keys = g.op("Mul", keys, keys)
    return g.op("Mul", g.constant(slopes.reshape(-1, 1, 1)), keys)


def _rows(g: RawGraph, spelling: Spelling, heads: ir.Value) -> ir.Value:
    return g.op("Mul", g.op("Shape", heads, start=0, end=1), [spelling.num_heads])


def _heads(g: RawGraph, x: ir.Value, width: int, num_heads: int) -> ir.Value:
    projected = g.op("MatMul", x, g.weight(width, num_heads * HEAD_DIM))
    shape = g.op("Concat", g.op("Shape", x, start=0, end=2), [num_heads], [HEAD_DIM], axis=0)
    return g.op("Transpose", g.op("Reshape", projected, shape), perm=[0, 2, 1, 3])


def _rotate(g: RawGraph, spelling: Spelling, x: ir.Value, rotation: tuple[ir.Value, ir.Value]) -> ir.Value:
    cos, sin = rotation
    if spelling.rotation == "interleaved":
        even, odd = g.op("Slice", x, [0], [2**62], [3], [2]), g.op("Slice", x, [1], [2**62], [3], [2])
        pairs = g.op(
            "Concat", g.op("Neg", g.op("Unsqueeze", odd, [4])), g.op("Unsqueeze", even, [4]), axis=-1
        )
        turned = g.op("Reshape", pairs, g.op("Shape", x))
        return g.op("Add", g.op("Mul", x, cos), g.op("Mul", turned, sin))
    width = HEAD_DIM // 2 if spelling.rotation == "partial" else HEAD_DIM
    rest = None
    if spelling.rotation == "partial":
        x, rest = g.op("Slice", x, [0], [width], [3]), g.op("Slice", x, [width], [2**62], [3])
    first, second = g.op("Slice", x, [0], [width // 2], [3]), g.op("Slice", x, [width // 2], [2**62], [3])
    other = second if spelling.rotation == "mirrored" else g.op("Neg", second)
    turned = g.op("Add", g.op("Mul", x, cos), g.op("Mul", g.op("Concat", other, first, axis=-1), sin))
    return turned if rest is None else g.op("Concat", turned, rest, axis=-1)


def _repeat(g: RawGraph, spelling: Spelling, x: ir.Value) -> ir.Value:
    """Repeat each head for the queries that share it."""
    repeats = spelling.num_heads // spelling.num_kv_heads
    if repeats == 1:
        return x
    batch, total = g.op("Shape", x, start=0, end=1), g.op("Shape", x, start=2, end=3)
    shape = g.op("Concat", batch, [spelling.num_kv_heads], [repeats], total, [HEAD_DIM], axis=0)
    repeated = g.op("Expand", g.op("Unsqueeze", x, [2]), shape)
    return g.op("Reshape", repeated, g.op("Concat", batch, [spelling.num_heads], total, [HEAD_DIM], axis=0))


def _linear(g: RawGraph, spelling: Spelling, x: ir.Value, width: int, new_width: int) -> ir.Value:
    weight, bias = g.weight(width, new_width), g.weight(new_width)
    if not spelling.flat_products:
        return g.op("Add", g.op("MatMul", x, weight), bias)
    shape = g.op("Concat", g.op("Shape", x, start=0, end=2), [new_width], axis=0)
    return g.op("Reshape", g.op("Gemm", g.op("Reshape", x, [-1, width]), weight, bias), shape)


def _norm(g: RawGraph, spelling: Spelling, x: ir.Value) -> ir.Value:
    width = spelling.num_heads * HEAD_DIM
    weight = g.constant((1 + 0.2 * g.random.standard_normal(width)).astype(np.float32))
    if spelling.norm == "layer":
        return g.op("LayerNormalization", x, weight, g.weight(width), axis=-1, epsilon=1e-5)
    if spelling.norm == "centered":
        x = g.op("Sub", x, g.op("ReduceMean", x, [-1]))
    variance = g.op("Add", g.op("ReduceMean", g.op("Pow", x, 2.0), [-1]), 1e-5)
    if spelling.norm == "rms_div":
        normalized = g.op("Div", x, g.op("Sqrt", variance))
    elif spelling.norm == "rms_pow":
        normalized = g.op("Mul", x, g.op("Pow", variance, -0.5))
    elif spelling.norm == "rms":
        normalized = g.op("Mul", x, g.op("Div", 1.0, g.op("Sqrt", variance)))
    else:
        normalized = g.op("Mul", x, g.op("Reciprocal", g.op("Sqrt", variance)))
    scaled = g.op("Mul", weight, normalized)
    return g.op("Add", scaled, g.weight(width)) if spelling.norm == "centered" else scaled


def _head(g: RawGraph, spelling: Spelling, x: ir.Value, width: int) -> ir.Value:
    logits = g.op("MatMul", x, g.weight(width, VOCAB_SIZE))
    if spelling.head == "mixed":
        return g.op("Add", logits, g.op("ReduceMean", logits, [1], keepdims=1))
    if spelling.head == "capped":
        logits = g.op("Mul", g.op("Tanh", g.op("Div", logits, 5.0)), 5.0)
    return logits
