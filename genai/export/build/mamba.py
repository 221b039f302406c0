"""Mamba's state space, as com.microsoft's LinearAttention computes it."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.architecture import MambaSpec
from genai.export.build.convolution import causal_convolution
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.norms import normalize
from genai.export.build.state_space import decay_factors, gated, passed_by, recurrence, time_steps

__all__ = ["mamba"]


def mamba(
    g: GraphBuilder, x: ir.Value, spec: MambaSpec, past_conv: ir.Value, past_recurrent: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Project, convolve, update the channels' vectors token by token, read them, gate, and project back.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The state space.
        past_conv: [batch_size, num_channels, conv_width - 1].
        past_recurrent: float32 [batch_size, num_channels, state_size, 1].

    Returns:
        The output, shaped as x, and the two present states.
    """
    packed = linear(g, x, "x", "gate", name="projections")
    mixed, gate = g.ops("Split", [packed, g.integers(*[spec.num_channels] * 2)], 2, axis=-1)
    mixed, present_conv = causal_convolution(g, mixed, past_conv, activation="silu")
    raw_steps, keys, queries = _selected(g, mixed, spec)
    inputs, steps = g.as_float32(mixed), time_steps(g, raw_steps)
    decays = g.op("Mul", [g.op("Unsqueeze", [steps, g.integers(-1)]), decay_factors(g)])
    read, present_recurrent = recurrence(
        g,
        queries=queries,
        keys=keys,
        values=g.op("Mul", [inputs, steps]),
        decays=g.op("Reshape", [decays, g.integers(0, 0, -1)]),
        past=past_recurrent,
        num_groups=1,
        num_heads=spec.num_channels,
    )
    read = gated(g, g.op("Add", [read, passed_by(g, inputs, -1)]), gate)
    return linear(g, g.from_float32(read), "output"), present_conv, present_recurrent


def _selected(g: GraphBuilder, x: ir.Value, spec: MambaSpec) -> list[ir.Value]:
    """Return what the steps are made of, [batch_size, sequence_length, num_channels], and keys and queries, all float32."""
    with g.scope("selection"):
        packed = linear(g, x, *spec.selection, name="projections")
        parts = g.ops("Split", [packed, g.integers(*spec.selection.values())], 3, axis=-1)
        if spec.norm is not None:
            parts = [
                normalize(g, part, f"{module}_norm", spec.norm, size)
                for part, (module, size) in zip(parts, spec.selection.items(), strict=True)
            ]
        low, keys, queries = parts
        return [g.as_float32(part) for part in (linear(g, low, "steps"), keys, queries)]
