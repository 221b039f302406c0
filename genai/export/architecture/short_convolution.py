"""A gated convolution over the last few tokens (LFM2, https://arxiv.org/abs/2511.23404)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from genai.export.architecture.parameters import Shapes, linear_shapes
from genai.export.architecture.state import StateSpec
from genai.graph.names import CONV_STATE

__all__ = ["ShortConvolutionSpec"]


@dataclass(frozen=True, slots=True)
class ShortConvolutionSpec:
    """output(output_gate * convolution(input_gate * value)): three projections of the input, a filter per channel in between.

    Args:
        num_channels: Width of the projections.
        width: Tokens that the convolution sees, the current one included; at least 2.
        bias: Whether projections and convolution have biases.
    """

    scope: ClassVar[str] = "convolution"
    rope: ClassVar[None] = None

    num_channels: int
    width: int
    bias: bool = False

    def states(self) -> tuple[StateSpec, ...]:
        """Return the last inputs of the convolution, [num_channels, width - 1]."""
        return (StateSpec(CONV_STATE, (self.num_channels, self.width - 1)),)

    def limited_to(self, max_positions: int) -> ShortConvolutionSpec:  # noqa: ARG002 - every mixer's signature
        """Return the same convolution: it knows no positions."""
        return self

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes: Shapes = {"filter.weight": (self.num_channels, 1, self.width)}
        if self.bias:
            shapes["filter.bias"] = (self.num_channels,)
        for module in ("input_gate", "output_gate", "value"):
            shapes |= linear_shapes(module, self.num_channels, hidden_size, bias=self.bias)
        return shapes | linear_shapes("output", hidden_size, self.num_channels, bias=self.bias)
