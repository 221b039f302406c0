"""Linear attention by the gated delta rule (https://arxiv.org/abs/2412.06464), as Qwen3-Next and Qwen 3.5 use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from genai.errors import CheckpointError
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes
from genai.export.architecture.state import StateSpec
from genai.graph.names import CONV_STATE, RECURRENT_STATE

__all__ = ["GatedDeltaSpec"]


@dataclass(frozen=True, slots=True)
class GatedDeltaSpec:
    """A matrix per value head that forgets and learns with every token, behind a short convolution.

    With q, k, v of a token after the convolution, q and k of unit length, a head's matrix S becomes

        S = exp(g) S + beta k (v - exp(g) S^T k)^T,    output = S^T q / sqrt(key_dim)

    where g = -exp(decay_rates) * softplus(decay(x) + decay_bias) and beta = sigmoid(beta(x)). The outputs are
    normalized per head and multiplied by silu(gate(x)).

    Args:
        num_key_heads: Heads of queries and of keys; each serves as many consecutive value heads as there are per key.
        num_value_heads: Heads of values, decays and update rates.
        key_dim: Width of a query or key head.
        value_dim: Width of a value head.
        conv_width: Tokens that the convolution sees, the current one included; at least 2.
        norm: On each output head.

    Raises:
        CheckpointError: The heads do not fit together.
    """

    scope: ClassVar[str] = "delta"
    rope: ClassVar[None] = None

    num_key_heads: int
    num_value_heads: int
    key_dim: int
    value_dim: int
    conv_width: int
    norm: NormSpec

    def __post_init__(self) -> None:
        if self.num_value_heads % self.num_key_heads:
            raise CheckpointError(
                f"config.json: {self.num_value_heads} value heads of linear attention are no multiple of "
                f"{self.num_key_heads} key heads"
            )

    @property
    def keys_size(self) -> int:
        """Width of all query heads, and of all key heads."""
        return self.num_key_heads * self.key_dim

    @property
    def values_size(self) -> int:
        """Width of all value heads."""
        return self.num_value_heads * self.value_dim

    @property
    def num_channels(self) -> int:
        """Channels of the convolution: queries, keys and values."""
        return 2 * self.keys_size + self.values_size

    def states(self) -> tuple[StateSpec, ...]:
        """Return the last inputs of the convolution, and the heads' matrices, which are float32 in every precision."""
        matrices = (self.num_value_heads, self.key_dim, self.value_dim)
        return (
            StateSpec(CONV_STATE, (self.num_channels, self.conv_width - 1)),
            StateSpec(RECURRENT_STATE, matrices, is_float32=True),
        )

    def limited_to(self, max_positions: int) -> GatedDeltaSpec:  # noqa: ARG002 - every mixer's signature
        """Return the same attention: it knows no positions."""
        return self

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes: Shapes = {"filter.weight": (self.num_channels, 1, self.conv_width)}
        sizes = {"q": self.keys_size, "k": self.keys_size, "v": self.values_size, "gate": self.values_size}
        for module, size in (sizes | {"beta": self.num_value_heads, "decay": self.num_value_heads}).items():
            shapes |= linear_shapes(module, size, hidden_size)
        shapes |= {"decay_rates": (self.num_value_heads,), "decay_bias": (self.num_value_heads,)}
        shapes |= norm_shapes("norm", self.norm, self.value_dim)
        return shapes | linear_shapes("output", hidden_size, self.values_size)
