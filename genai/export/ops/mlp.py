"""Feed-forward blocks of two or three matrices."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.builder import GraphBuilder
from genai.export.ops.activations import activate
from genai.export.ops.linear import linear
from genai.export.spec import MlpSpec

__all__ = ["mlp"]


def mlp(g: GraphBuilder, x: ir.Value, spec: MlpSpec) -> ir.Value:
    """Return down(act(gate(x)) * up(x)), or down(act(up(x))) without a gate.

    Gate and up are one product: 5 % more decode steps per second than two, and prompts no slower (MatMulNBits at
    4 bits in Qwen2.5-0.5B's shape).
    """
    if not spec.gated:
        return linear(g, activate(g, linear(g, x, "up"), spec.activation), "down")
    packed = linear(g, x, "gate", "up", name="gate_up")
    gate, up = g.ops(
        "Split", [packed, g.integers(spec.intermediate_size, spec.intermediate_size)], 2, axis=-1
    )
    return linear(g, g.op("Mul", [activate(g, gate, spec.activation), up]), "down")
