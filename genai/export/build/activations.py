"""Activation functions, and the bounds of values."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.architecture import Activation
from genai.export.build.graph_builder import GraphBuilder
from genai.graph.opset import MICROSOFT

__all__ = ["activate", "clip"]


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


def clip(g: GraphBuilder, x: ir.Value, *, low: float | None = None, high: float) -> ir.Value:
    """Bound values, element by element; in bfloat16 by operators that CUDA has such kernels for, unlike Clip."""
    bounds = None if low is None else g.scalar(low), g.scalar(high)
    if g.precision.float_type != ir.DataType.BFLOAT16:
        return g.op("Clip", [x, *bounds])
    if low is not None:
        x = g.op("Max", [x, bounds[0]])
    return g.op("Min", [x, bounds[1]])
