"""A selective state space by state-space duality (Mamba-2, https://arxiv.org/abs/2405.21060)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from genai.errors import CheckpointError
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes
from genai.export.architecture.state import StateSpec
from genai.graph.names import CONV_STATE, RECURRENT_STATE

__all__ = ["Mamba2Spec"]


@dataclass(frozen=True, slots=True)
class Mamba2Spec:
    """A matrix per head that forgets and learns with every token, behind a short convolution.

    With x, B and C of a token after the convolution and silu, a head's matrix S becomes

        S = exp(A dt) S + B (dt x)^T,    output = S^T C + D x

    where dt = softplus(step(x) + step_bias), A = -exp(decay_rates) and D = skip. It is linear attention with a decay: C
    are the queries, B the keys, and dt x the values. The outputs are multiplied by silu(gate(x)) and normalized.

    Args:
        num_heads: Heads of x, each with a decay and a step of its own.
        head_dim: Width of a head.
        num_groups: Groups of heads, each of which shares one B and one C.
        state_size: Width of a B or C.
        conv_width: Tokens that the convolution sees, the current one included; at least 2.
        norm: On the outputs, over each group by itself; `None` is none.
        norms_first: Whether they are normalized before they are gated.
        bias: Whether the projections have biases.
        conv_bias: Whether the convolution has one.
        factors: On gate, x, B, C and step before anything else.
        least_step: What dt is at least.

    Raises:
        CheckpointError: The heads do not fit together.
    """

    scope: ClassVar[str] = "mamba"
    rope: ClassVar[None] = None

    num_heads: int
    head_dim: int
    num_groups: int
    state_size: int
    conv_width: int
    norm: NormSpec | None
    norms_first: bool = False
    bias: bool = False
    conv_bias: bool = True
    factors: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)
    least_step: float = 0.0

    def __post_init__(self) -> None:
        if self.num_heads % self.num_groups:
            raise CheckpointError(
                f"config.json: {self.num_heads} heads of a Mamba layer are no multiple of {self.num_groups} groups"
            )

    @property
    def values_size(self) -> int:
        """Width of x of all heads."""
        return self.num_heads * self.head_dim

    @property
    def keys_size(self) -> int:
        """Width of B of all groups, and of C."""
        return self.num_groups * self.state_size

    @property
    def num_channels(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.values_size + 2 * self.keys_size

    def states(self) -> tuple[StateSpec, ...]:
        """Return the last inputs of the convolution, and the heads' matrices, which are float32 in every precision."""
        return (
            StateSpec(CONV_STATE, (self.num_channels, self.conv_width - 1)),
            StateSpec(RECURRENT_STATE, (self.num_heads, self.state_size, self.head_dim), is_float32=True),
        )

    def limited_to(self, max_positions: int) -> Mamba2Spec:  # noqa: ARG002 - every mixer's signature
        """Return the same state space: it knows no positions."""
        return self

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes: Shapes = {"filter.weight": (self.num_channels, 1, self.conv_width)}
        if self.conv_bias:
            shapes["filter.bias"] = (self.num_channels,)
        sizes = {"gate": self.values_size, "x": self.values_size, "b": self.keys_size, "c": self.keys_size}
        for module, size in (sizes | {"step": self.num_heads}).items():
            shapes |= linear_shapes(module, size, hidden_size, bias=self.bias)
        for name in ("step_bias", "decay_rates", "skip"):
            shapes[name] = (self.num_heads,)
        shapes |= norm_shapes("norm", self.norm, self.values_size)
        return shapes | linear_shapes("output", hidden_size, self.values_size, bias=self.bias)
