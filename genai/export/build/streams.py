"""What the layers read and add to: one residual stream, or the several of alternating updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from genai.export.architecture import AltUpSpec, LaurelSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.norms import ResidualStream, normalize
from genai.export.build.tensors import from_array, stack_transposed

__all__ = ["AltUpStreams", "SingleStream", "Streams", "laurel"]

FLOAT = ir.DataType.FLOAT
SMALLEST_SQUARE = 1e-5

LayerInput = Callable[[ir.Value], ir.Value]
"""From what a layer has computed to what its own input of the tokens adds to it."""


class Streams(Protocol):
    """The residual streams of a decoder."""

    def enter(self) -> ResidualStream:
        """Return the stream that the next layer reads and adds to."""
        ...

    def leave(self, layer_input: LayerInput | None) -> None:
        """Take over what the layer added, and add its own input of the tokens if it has one."""
        ...

    def finish(self, count: ir.Value, length: ir.Value) -> ResidualStream:
        """Return the last `count` of `length` positions, int64 [1] both, of what goes into the final norm."""
        ...


@dataclass(slots=True)
class SingleStream:
    """One residual stream."""

    stream: ResidualStream

    def enter(self) -> ResidualStream:
        """Return it."""
        return self.stream

    def leave(self, layer_input: LayerInput | None) -> None:
        """Add the layer's own input, if it has one."""
        if layer_input is not None:
            self.stream.add(layer_input(self.stream.read()))

    def finish(self, count: ir.Value, length: ir.Value) -> ResidualStream:
        """Return its last positions."""
        self.stream.keep_last(count, length)
        return self.stream


class AltUpStreams:
    """The streams of alternating updates, stacked: [batch_size, sequence_length, num_streams, hidden_size].

    Args:
        g: The graph.
        spec: Their number, and which one the layers compute.
        hidden: The embeddings, [batch_size, sequence_length, hidden_size].
        size: hidden_size.
    """

    def __init__(self, g: GraphBuilder, spec: AltUpSpec, hidden: ir.Value, size: int) -> None:
        self._g, self._spec, self._size = g, spec, size
        self._read: ir.Value | None = None
        self._router: tuple[ir.Value, ir.Value] | None = None
        self._stream: ResidualStream | None = None
        streams = [hidden]
        for index in range(1, spec.num_streams):
            with g.scope("altup"):
                projected = linear(g, hidden, f"embed.{index}")
            streams.append(_with_magnitude_of(g, projected, hidden))
        self._stack = self._stacked(streams)

    def enter(self) -> ResidualStream:
        """Predict all streams, and return the active one."""
        g, count = self._g, self._spec.num_streams
        with g.scope("altup"):
            self._router = self._make_router()
            modalities = self._modalities(self._active())
            factors = linear(g, modalities, "predictions")
            factors = g.op("Reshape", [factors, g.integers(0, 0, count, count)])
            self._stack = g.op("Add", [g.op("MatMul", [factors, self._stack]), self._stack])
        self._read = self._active()
        self._stream = ResidualStream(g, self._read, self._size)
        return self._stream

    def leave(self, layer_input: LayerInput | None) -> None:
        """Correct all streams by what changed in the active one; the layer's own input goes to all but the first."""
        g, spec = self._g, self._spec
        assert self._stream is not None
        computed = self._stream.read()
        with g.scope("altup"):
            modalities = self._modalities(computed)
            factors = g.op("Add", [linear(g, modalities, "corrections"), g.scalar(1.0)])
            change = g.op("Unsqueeze", [g.op("Sub", [computed, self._read]), g.integers(2)])
            changes = g.op("Mul", [change, g.op("Unsqueeze", [factors, g.integers(3)])])
            self._stack = g.op("Add", [self._stack, changes])
            if layer_input is None:
                return
            corrected = self._active()
            if spec.scales_input:
                scale = from_array(g.parameter("input_scale")[:], g.precision.float_type)
                corrected = g.op("Mul", [corrected, g.initializer("input_scale", scale)])
        added = g.op("Unsqueeze", [layer_input(corrected), g.integers(2)])
        others = np.ones((1, 1, spec.num_streams, 1), g.precision.float_type.numpy())
        others[0, 0, 0, 0] = 0
        self._stack = g.op("Add", [self._stack, g.op("Mul", [added, g.constant(others)])])

    def finish(self, count: ir.Value, length: ir.Value) -> ResidualStream:
        """Return the mean of all streams, each projected back and as large as the first."""
        g, spec = self._g, self._spec
        stack = ResidualStream(g, self._stack, self._size)
        stack.keep_last(count, length)
        first, *others = self._split(stack.value)
        total = first
        for index, stream in enumerate(others, start=1):
            with g.scope("altup"):
                projected = linear(g, stream, f"unembed.{index}")
            total = g.op("Add", [total, _with_magnitude_of(g, projected, first)])
        return ResidualStream(g, g.op("Mul", [total, g.scalar(1 / spec.num_streams)]), self._size)

    def _make_router(self) -> tuple[ir.Value, ir.Value]:
        """Store a layer's norm, whose weights are divided by hidden_size, and matrix; both steps use them."""
        g, dtype = self._g, self._g.precision.float_type
        weights = g.parameter("router_norm.weight")[:].astype(np.float32) / np.float32(self._size)
        matrix = stack_transposed([g.parameter("router.weight")], dtype)
        return g.initializer("router_norm.weight", from_array(weights, dtype)), g.initializer(
            "router.weight", matrix
        )

    def _modalities(self, x: ir.Value) -> ir.Value:
        """What the factors follow from: [batch_size, sequence_length, num_streams]."""
        g = self._g
        assert self._router is not None
        weights, matrix = self._router
        normalized = g.op("RMSNormalization", [x, weights], axis=-1, epsilon=self._spec.norm.eps)
        return g.op("Tanh", [g.op("MatMul", [normalized, matrix])])

    def _active(self) -> ir.Value:
        return self._g.op("Gather", [self._stack, self._g.constant(np.asarray(self._spec.active))], axis=2)

    def _stacked(self, streams: list[ir.Value]) -> ir.Value:
        g = self._g
        return g.op("Concat", [g.op("Unsqueeze", [stream, g.integers(2)]) for stream in streams], axis=2)

    def _split(self, stack: ir.Value) -> list[ir.Value]:
        g, count = self._g, self._spec.num_streams
        parts = g.ops("Split", [stack, g.integers(*[1] * count)], count, axis=2)
        return [g.op("Squeeze", [part, g.integers(2)]) for part in parts]


def laurel(g: GraphBuilder, x: ir.Value, spec: LaurelSpec, *, size: int) -> ir.Value:
    """Return x + norm(right(left(x))): [batch_size, sequence_length, size] both ways."""
    with g.scope("laurel"):
        projected = linear(g, linear(g, x, "left"), "right")
        return g.op("Add", [x, normalize(g, projected, "norm", spec.norm, size)])


def _with_magnitude_of(g: GraphBuilder, x: ir.Value, other: ir.Value) -> ir.Value:
    """Scale each token's vector so that its root mean square is another one's; in float32, for the squares' sake."""

    def mean_square(x: ir.Value) -> ir.Value:
        return g.op("ReduceMean", [g.op("Mul", [x, x]), g.integers(-1)], keepdims=1)

    is_half = g.precision.float_type != FLOAT
    x, other = (g.op("Cast", [value], to=FLOAT) if is_half else value for value in (x, other))
    wanted, found = mean_square(other), g.op("Max", [mean_square(x), g.float32(SMALLEST_SQUARE)])
    scaled = g.op("Mul", [x, g.op("Div", [g.op("Sqrt", [wanted]), g.op("Sqrt", [found])])])
    return g.op("Cast", [scaled], to=g.precision.float_type) if is_half else scaled
