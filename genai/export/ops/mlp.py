"""Feed-forward blocks and their activations."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.builder import MICROSOFT, GraphBuilder
from genai.export.ops.linear import linear
from genai.export.spec import Activation, MlpSpec

__all__ = ["activate", "mlp"]


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


def activate(g: GraphBuilder, x: ir.Value, activation: Activation) -> ir.Value:
    """Apply an activation element by element."""
    match activation:
        case "silu":
            return g.op("QuickGelu", [x], domain=MICROSOFT, alpha=1.0)
        case "quick_gelu":
            return g.op("QuickGelu", [x], domain=MICROSOFT, alpha=1.702)
        case "gelu":
            return g.op("Gelu", [x], approximate="none")
        case "gelu_tanh":
            return g.op("Gelu", [x], approximate="tanh")
        case "relu":
            return g.op("Relu", [x])
        case "relu2":
            clipped = g.op("Relu", [x])
            return g.op("Mul", [clipped, clipped])
