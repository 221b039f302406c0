"""Multi-head latent attention: keys and values of all heads are kept as one small latent vector per position."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from genai.errors import CheckpointError
from genai.export.architecture.attention import QueryScaling
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes
from genai.export.architecture.rope import RopeSpec
from genai.export.architecture.state import StateSpec
from genai.graph.names import KEY, VALUE

__all__ = ["LatentAttentionSpec"]


@dataclass(frozen=True, slots=True)
class LatentAttentionSpec:
    """Multi-head latent attention (DeepSeek-V2, https://arxiv.org/abs/2405.04434).

    A head's key is a linear function of the latent vector beside a part, mostly rotated, that all heads share; its value is
    another linear function of the latent vector. The functions are applied to queries and outputs instead, so that
    all heads attend to the same keys, the latent vectors with the shared parts, and only those are cached.

    Args:
        num_heads: Query heads.
        latent_dim: Width of the latent vector.
        nope_dim: Width of the part of a head's query and key that is the head's own, and does not rotate.
        shared_dim: Width of the part of the key that all heads share, and of what reads it in a query.
        value_dim: Width of a head's value.
        rope: Rotary embedding of the shared part, if any: of all its dimensions.
        norm: Normalization of the latent vector, and of the queries' own.
        scale: Factor on the scores.
        query_rank: Width of the queries' own latent vector; `None` if they are projected at once.
        bias: Whether the projections to latent vectors and the output projection have biases.
        head_gate: Whether each head is multiplied by the sigmoid of one output of another projection of the input.
        query_scaling: Factor on the queries that depends on the position, if any.

    Raises:
        CheckpointError: A width makes no sense.
    """

    scope: ClassVar[str] = "attention"

    num_heads: int
    latent_dim: int
    nope_dim: int
    shared_dim: int
    value_dim: int
    rope: RopeSpec | None
    norm: NormSpec
    scale: float
    query_rank: int | None = None
    bias: bool = False
    head_gate: bool = False
    query_scaling: QueryScaling | None = None

    def __post_init__(self) -> None:
        if min(self.num_heads, self.latent_dim, self.nope_dim, self.shared_dim, self.value_dim) < 1:
            raise CheckpointError(f"config.json: a width of the latent attention is below 1: {self}")

    @property
    def num_kv_heads(self) -> int:
        """Heads in the cache."""
        return 1

    @property
    def head_dim(self) -> int:
        """Width of the cached keys and values."""
        return self.latent_dim + self.shared_dim

    @property
    def query_dim(self) -> int:
        """Width of a head's query before it is turned into one for the cached keys."""
        return self.nope_dim + self.shared_dim

    def states(self) -> tuple[StateSpec, ...]:
        """Return the keys and values, [1, positions, head_dim] each; a value is the key once more."""
        shape = (self.num_kv_heads, None, self.head_dim)
        return StateSpec(KEY, shape), StateSpec(VALUE, shape)

    def limited_to(self, max_positions: int) -> LatentAttentionSpec:
        """Return the attention for sequences of at most this length."""
        return replace(
            self,
            rope=self.rope and self.rope.limited_to(max_positions),
            query_scaling=self.query_scaling and self.query_scaling.limited_to(max_positions),
        )

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        queries = self.num_heads * self.query_dim
        if self.query_rank is None:
            shapes = linear_shapes("q", queries, hidden_size)
        else:
            shapes = linear_shapes("q_down", self.query_rank, hidden_size, bias=self.bias)
            shapes |= norm_shapes("q_norm", self.norm, self.query_rank)
            shapes |= linear_shapes("q_up", queries, self.query_rank)
        if self.head_gate:
            shapes |= linear_shapes("head_gate", self.num_heads, hidden_size)
        return (
            shapes
            | linear_shapes("kv_down", self.head_dim, hidden_size, bias=self.bias)
            | norm_shapes("kv_norm", self.norm, self.latent_dim)
            | linear_shapes("k_up", self.num_heads * self.nope_dim, self.latent_dim)
            | linear_shapes("v_up", self.num_heads * self.value_dim, self.latent_dim)
            | linear_shapes("output", hidden_size, self.num_heads * self.value_dim, bias=self.bias)
        )
