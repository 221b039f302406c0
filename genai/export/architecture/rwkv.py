"""RWKV-4's two blocks (https://arxiv.org/abs/2305.13048): a mean of all earlier values, and a block that sees the last token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes
from genai.export.architecture.state import StateSpec
from genai.graph.names import CONV_STATE, RECURRENT_STATE

__all__ = ["ChannelMixSpec", "TimeMixSpec"]


@dataclass(frozen=True, slots=True)
class TimeMixSpec:
    """A mean of values per channel, weighed by exponentials of keys that fade with every token.

    k, v and r are linear in the normalized input, each mixed with that of the token before. With w = exp(decay_rates) and
    u = bonus, token t's output is sigmoid(r_t) times

        (sum over s < t of exp(k_s - (t - 1 - s) w) v_s + exp(k_t + u) v_t) / (the same of ones instead of values)

    Args:
        num_inputs: Width of the input.
        num_channels: Width of keys and values.
        norm: On the input.
    """

    scope: ClassVar[str] = "time_mix"
    rope: ClassVar[None] = None

    num_inputs: int
    num_channels: int
    norm: NormSpec

    def states(self) -> tuple[StateSpec, ...]:
        """Return the last input, and each channel's two sums and the exponent that they are divided by, in float32."""
        return (
            StateSpec(CONV_STATE, (self.num_inputs, 1)),
            StateSpec(RECURRENT_STATE, (self.num_channels, 1, 3), is_float32=True),
        )

    def limited_to(self, max_positions: int) -> TimeMixSpec:  # noqa: ARG002 - every mixer's signature
        """Return the same block: it knows no positions."""
        return self

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes = norm_shapes("norm", self.norm, hidden_size)
        for module in ("k", "v", "r"):
            shapes |= linear_shapes(module, self.num_channels, hidden_size)
            shapes[f"{module}_share"] = (hidden_size,)
        shapes |= {"decay_rates": (self.num_channels,), "bonus": (self.num_channels,)}
        return shapes | linear_shapes("output", hidden_size, self.num_channels)


@dataclass(frozen=True, slots=True)
class ChannelMixSpec:
    """sigmoid(r) * down(relu(up)^2), r and up linear in the normalized input, each mixed with that of the token before.

    Args:
        num_inputs: Width of the input.
        intermediate_size: Width between the matrices.
        norm: On the input.
    """

    scope: ClassVar[str] = "channel_mix"
    rope: ClassVar[None] = None

    num_inputs: int
    intermediate_size: int
    norm: NormSpec

    def states(self) -> tuple[StateSpec, ...]:
        """Return the last input."""
        return (StateSpec(CONV_STATE, (self.num_inputs, 1)),)

    def limited_to(self, max_positions: int) -> ChannelMixSpec:  # noqa: ARG002 - every mixer's signature
        """Return the same block: it knows no positions."""
        return self

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes = norm_shapes("norm", self.norm, hidden_size)
        shapes |= linear_shapes("up", self.intermediate_size, hidden_size)
        shapes |= linear_shapes("r", hidden_size, hidden_size)
        shapes |= {"up_share": (hidden_size,), "r_share": (hidden_size,)}
        return shapes | linear_shapes("down", hidden_size, self.intermediate_size)
