"""Activation functions, and the bounds of values."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from genai.export.architecture import Activation
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.tensors import from_array
from genai.graph.opset import MICROSOFT

__all__ = ["activate", "clip"]


def activate(g: GraphBuilder, x: ir.Value, activation: Activation) -> ir.Value:
    """Apply an activation element by element; one with parameters has them in the scope `activation`."""
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
        case "xielu":
            with g.scope("activation"):
                return _xielu(g, x)


def clip(g: GraphBuilder, x: ir.Value, *, low: float | None = None, high: float) -> ir.Value:
    """Bound values, element by element; in bfloat16 by operators that CUDA has such kernels for, unlike Clip."""
    bounds = None if low is None else g.scalar(low), g.scalar(high)
    if g.precision.float_type != ir.DataType.BFLOAT16:
        return g.op("Clip", [x, *bounds])
    if low is not None:
        x = g.op("Max", [x, bounds[0]])
    return g.op("Min", [x, bounds[1]])


def _xielu(g: GraphBuilder, x: ir.Value) -> ir.Value:
    """Return xIELU (https://arxiv.org/abs/2411.13010): beta x + p x^2 above 0, else beta x + n (exp(min(x, eps)) - 1 - x).

    p is stored as what softplus makes it of, and n less beta so too. It is computed in float32: in float16 a square is soon
    infinite and the difference soon 0. exp(t) - 1 is tanh(t / 2) (exp(t) + 1), which is exact near 0, too: ONNX has it only as
    Elu, which has no kernel on CUDA.
    """
    names = ("alpha_p", "alpha_n", "beta", "eps")
    alpha_p, alpha_n, beta, eps = (np.asarray(g.parameter(name)[:], np.float32) for name in names)
    zero = np.float32(0)
    factors = {
        "positive": np.logaddexp(zero, alpha_p),
        "negative": beta + np.logaddexp(zero, alpha_n),
        "beta": beta,
        "eps": eps,
    }
    stored = {
        name: g.initializer(name, from_array(each, ir.DataType.FLOAT)) for name, each in factors.items()
    }
    x = g.as_float32(x)
    above = g.op("Mul", [g.op("Mul", [x, x]), stored["positive"]])
    low = g.op("Min", [x, stored["eps"]])
    raised = g.op("Add", [g.op("Exp", [low]), g.float32(1.0)])
    exponential = g.op("Mul", [g.op("Tanh", [g.op("Mul", [low, g.float32(0.5)])]), raised])
    below = g.op("Mul", [g.op("Sub", [exponential, x]), stored["negative"]])
    curve = g.op("Where", [g.op("Greater", [x, g.float32(0.0)]), above, below])
    return g.from_float32(g.op("Add", [g.op("Mul", [x, stored["beta"]]), curve]))
