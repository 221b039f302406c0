"""Feed-forward blocks of two or three matrices."""

from __future__ import annotations

from statistics import NormalDist

import onnx_ir as ir

from genai.export.architecture import MlpSpec
from genai.export.build.activations import activate
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.norms import normalize

__all__ = ["mlp"]


def mlp(g: GraphBuilder, x: ir.Value, spec: MlpSpec) -> ir.Value:
    """Return down(norm(act(gate(x)) * up(x))), or down(act(up(x))) without a gate.

    Gate and up are one product: 5 % more decode steps per second than two, and prompts no slower (MatMulNBits at
    4 bits in Qwen2.5-0.5B's shape).
    """
    if not spec.gated:
        return linear(g, activate(g, linear(g, x, "up"), spec.activation), "down")
    packed = linear(g, x, "gate", "up", name="gate_up")
    gate, up = g.ops(
        "Split", [packed, g.integers(spec.intermediate_size, spec.intermediate_size)], 2, axis=-1
    )
    if spec.sparsity:
        gate = _gaussian_top_k(g, gate, spec.sparsity)
    gate = g.scaled(gate, spec.gate_scale)
    product = g.op("Mul", [activate(g, gate, spec.activation), up])
    if spec.down_norm is not None:
        product = normalize(g, product, "down_norm", spec.down_norm, spec.intermediate_size)
    return g.scaled(linear(g, product, "down"), spec.output_scale)


def _gaussian_top_k(g: GraphBuilder, gate: ir.Value, sparsity: float) -> ir.Value:
    """Subtract this quantile of a normal distribution with the values' mean and deviation, and keep what is above."""
    is_half = g.precision.float_type != ir.DataType.FLOAT
    values = g.op("Cast", [gate], to=ir.DataType.FLOAT) if is_half else gate
    mean = g.op("ReduceMean", [values, g.integers(-1)], keepdims=1)
    centred = g.op("Sub", [values, mean])
    deviation = g.op(
        "Sqrt", [g.op("ReduceMean", [g.op("Mul", [centred, centred]), g.integers(-1)], keepdims=1)]
    )
    cutoff = g.op("Mul", [deviation, g.float32(NormalDist().inv_cdf(sparsity))])
    kept = g.op("Relu", [g.op("Sub", [centred, cutoff])])
    return g.op("Cast", [kept], to=g.precision.float_type) if is_half else kept
