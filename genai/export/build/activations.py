"""Activation functions."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.architecture import Activation
from genai.export.build.graph_builder import GraphBuilder
from genai.graph.opset import MICROSOFT

__all__ = ["activate"]


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
