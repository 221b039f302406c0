"""Linear attention with a fixed decay per head (Lightning Attention, https://arxiv.org/abs/2501.08313)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from genai.export.architecture.feed_forward import Activation
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes
from genai.export.architecture.state import StateSpec
from genai.graph.names import RECURRENT_STATE

__all__ = ["LightningAttentionSpec"]


@dataclass(frozen=True, slots=True)
class LightningAttentionSpec:
    """A matrix per head that learns with every token and forgets at a rate of its own.

    With q, k, v of a token after the activation, a head's matrix S becomes

        S = exp(-slope) S + k v^T,    output = S^T q

    The outputs of all heads are normalized together and multiplied by sigmoid(gate(x)).

    Args:
        head_dim: Width of a head's query, key and value.
        slopes: That of each head.
        activation: On queries, keys and values.
        norm: On the outputs of all heads together.
    """

    scope: ClassVar[str] = "lightning"
    rope: ClassVar[None] = None

    head_dim: int
    slopes: tuple[float, ...]
    activation: Activation
    norm: NormSpec

    @property
    def num_heads(self) -> int:
        """How many heads there are."""
        return len(self.slopes)

    @property
    def size(self) -> int:
        """Width of all query heads, of all key heads, and of all value heads."""
        return self.num_heads * self.head_dim

    def states(self) -> tuple[StateSpec, ...]:
        """Return the heads' matrices, which are float32 in every precision."""
        return (StateSpec(RECURRENT_STATE, (self.num_heads, self.head_dim, self.head_dim), is_float32=True),)

    def limited_to(self, max_positions: int) -> LightningAttentionSpec:  # noqa: ARG002 - every mixer's signature
        """Return the same attention: it knows no positions."""
        return self

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes: Shapes = {}
        for module in ("q", "k", "v", "gate"):
            shapes |= linear_shapes(module, self.size, hidden_size)
        shapes |= norm_shapes("norm", self.norm, self.size)
        return shapes | linear_shapes("output", hidden_size, self.size)
