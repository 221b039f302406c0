"""A selective state space with a decay for each channel and state (Mamba, https://arxiv.org/abs/2312.00752)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes
from genai.export.architecture.state import StateSpec
from genai.graph.names import CONV_STATE, RECURRENT_STATE

__all__ = ["MambaSpec"]


@dataclass(frozen=True, slots=True)
class MambaSpec:
    """A vector per channel that forgets and learns with every token, behind a short convolution.

    With x a token's channels after the convolution and silu, and low, B and C three projections of it (`selection`), a
    channel's vector s becomes

        s = exp(A dt) s + B (dt x),    output = s . C + D x

    where dt = softplus(steps(low) + step_bias) is the channel's own, as are A = -exp(decay_rates), a vector too, and
    D = skip. It is linear attention with a decay for each element of a key: C are the queries, B the keys, dt x the
    values, and every channel is a head of its own that shares queries and keys with all others. The outputs are
    multiplied by silu(gate(x)).

    Args:
        num_channels: Width of x.
        state_size: Width of a channel's vector, and of B and C.
        step_rank: Width of what the steps are computed from.
        conv_width: Tokens that the convolution sees, the current one included; at least 2.
        norm: On what the steps are computed from, on B and on C, each by itself; `None` is none.
        bias: Whether the projections between residual stream and channels have biases.
        conv_bias: Whether the convolution has one.
    """

    scope: ClassVar[str] = "mamba"
    rope: ClassVar[None] = None

    num_channels: int
    state_size: int
    step_rank: int
    conv_width: int
    norm: NormSpec | None = None
    bias: bool = False
    conv_bias: bool = True

    @property
    def selection(self) -> dict[str, int]:
        """The widths of the projections of the channels, by module."""
        return {"low": self.step_rank, "keys": self.state_size, "queries": self.state_size}

    def states(self) -> tuple[StateSpec, ...]:
        """Return the last inputs of the convolution, and the channels' vectors, which are float32 in every precision."""
        return (
            StateSpec(CONV_STATE, (self.num_channels, self.conv_width - 1)),
            StateSpec(RECURRENT_STATE, (self.num_channels, self.state_size, 1), is_float32=True),
        )

    def limited_to(self, max_positions: int) -> MambaSpec:  # noqa: ARG002 - every mixer's signature
        """Return the same state space: it knows no positions."""
        return self

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes: Shapes = {"filter.weight": (self.num_channels, 1, self.conv_width)}
        if self.conv_bias:
            shapes["filter.bias"] = (self.num_channels,)
        for module in ("x", "gate"):
            shapes |= linear_shapes(module, self.num_channels, hidden_size, bias=self.bias)
        for module, size in self.selection.items():
            shapes |= linear_shapes(f"selection.{module}", size, self.num_channels)
            shapes |= norm_shapes(f"selection.{module}_norm", self.norm, size)
        shapes |= linear_shapes("selection.steps", self.num_channels, self.step_rank)
        shapes |= {"step_bias": (self.num_channels,), "skip": (self.num_channels,)}
        shapes["decay_rates"] = (self.num_channels, self.state_size)
        return shapes | linear_shapes("output", hidden_size, self.num_channels, bias=self.bias)
