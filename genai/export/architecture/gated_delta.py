"""Linear attention by the gated delta rule (https://arxiv.org/abs/2412.06464), as Qwen3-Next and its like use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

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

    where g = -exp(decay_rates) * softplus(decay(x) + decay_bias) and beta = beta_scale * sigmoid(beta(x)). The outputs
    are normalized per head and multiplied by the activation of gate(x). In Kimi's delta attention
    (https://arxiv.org/abs/2510.26692) each row of S has a g of its own.

    Args:
        num_key_heads: Heads of queries and of keys; each serves as many consecutive value heads as there are per key.
        num_value_heads: Heads of values, decays and update rates.
        key_dim: Width of a query or key head.
        value_dim: Width of a value head.
        conv_width: Tokens that the convolution sees, the current one included; at least 2.
        norm: On each output head.
        decays_over: What has a decay of its own: each matrix ("head"), or each of its rows ("key").
        decay_floor: If there is one, g = decay_floor * sigmoid(exp(decay_rates) * (decay(x) + decay_bias)) instead.
        decay_rank: Width between the two matrices that decay(x) is made by; `None` if it is made by one.
        gate_rank: The same of gate(x).
        gate_activation: What the gate passes.
        beta_scale: Factor on the update rates; with 2 a matrix can also turn what it holds round.

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
    decays_over: Literal["head", "key"] = "head"
    decay_floor: float | None = None
    decay_rank: int | None = None
    gate_rank: int | None = None
    gate_activation: Literal["silu", "sigmoid"] = "silu"
    beta_scale: float = 1.0

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

    @property
    def decays_per_head(self) -> int:
        """How many decays a head has."""
        return self.key_dim if self.decays_over == "key" else 1

    @property
    def num_decays(self) -> int:
        """Decays of all heads."""
        return self.num_value_heads * self.decays_per_head

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
        shapes: Shapes = {}
        for module, size in (("q", self.keys_size), ("k", self.keys_size), ("v", self.values_size)):
            shapes |= linear_shapes(module, size, hidden_size)
            shapes[f"{module}_filter.weight"] = (size, 1, self.conv_width)
        shapes |= _factored_shapes("gate", self.values_size, self.gate_rank, hidden_size)
        shapes |= _factored_shapes("decay", self.num_decays, self.decay_rank, hidden_size)
        shapes |= linear_shapes("beta", self.num_value_heads, hidden_size)
        shapes |= {"decay_rates": (self.num_value_heads,), "decay_bias": (self.num_decays,)}
        shapes |= norm_shapes("norm", self.norm, self.value_dim)
        return shapes | linear_shapes("output", hidden_size, self.values_size)


def _factored_shapes(module: str, num_outputs: int, rank: int | None, num_inputs: int) -> Shapes:
    """The shapes of a linear layer, or of the two that stand for it."""
    if rank is None:
        return linear_shapes(module, num_outputs, num_inputs)
    return linear_shapes(f"{module}_down", rank, num_inputs) | linear_shapes(module, num_outputs, rank)
