"""Causal softmax attention with grouped key/value heads, and what families add to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from genai.errors import CheckpointError
from genai.export.rope import RopeSpec
from genai.export.spec.norm import NormSpec
from genai.export.spec.parameters import Shapes, linear_shapes, norm_shapes
from genai.export.spec.state import StateSpec

__all__ = ["AttentionSpec", "QueryScaling"]


@dataclass(frozen=True, slots=True)
class QueryScaling:
    """A factor on the queries that grows with the position: 1 + beta * log(1 + floor(position / interval)).

    From Llama 4 (https://ai.meta.com/blog/llama-4-multimodal-intelligence/), also in Ministral 3.
    """

    beta: float
    interval: int


@dataclass(frozen=True, slots=True)
class AttentionSpec:
    """Causal attention with grouped key/value heads.

    Args:
        num_heads: Query heads.
        num_kv_heads: Key/value heads.
        head_dim: Width of a head.
        scale: Factor on the scores; `None` is 1 / sqrt(head_dim).
        softcap: Scores become softcap * tanh(score / softcap); `None` is off.
        window: Positions that a token sees, itself included; `None` is all.
        rope: Rotary embedding of queries and keys, if any.
        qk_norm: Normalization of queries and keys, if any.
        qk_norm_over: What it normalizes: each head with one weight for all ("head"), each head with a weight of its
            own ("heads"), or all heads together ("projection").
        qk_norm_after_rope: Whether it comes after the rotary embedding instead of before.
        v_norm: Normalization of each value head, if any.
        qkv_clip: Queries, keys and values are clipped to [-qkv_clip, qkv_clip]; `None` is off.
        query_scaling: Factor on the queries that depends on the position, if any.
        alibi_slopes: Per head, what is added to a score per position of its key (https://arxiv.org/abs/2108.12409).
        sinks: Whether each head has a learned score that takes part in the softmax and attends to nothing.
        output_gate: Whether the heads are multiplied by the sigmoid of another projection of the input.
        qkv_bias: Whether the query, key and value projections have biases.
        output_bias: Whether the output projection has one.

    Raises:
        CheckpointError: The heads do not fit together.
    """

    scope: ClassVar[str] = "attention"

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float | None = None
    softcap: float | None = None
    window: int | None = None
    rope: RopeSpec | None = None
    qk_norm: NormSpec | None = None
    qk_norm_over: Literal["head", "heads", "projection"] = "head"
    qk_norm_after_rope: bool = False
    v_norm: NormSpec | None = None
    qkv_clip: float | None = None
    query_scaling: QueryScaling | None = None
    alibi_slopes: tuple[float, ...] | None = None
    sinks: bool = False
    output_gate: bool = False
    qkv_bias: bool = False
    output_bias: bool = False

    def __post_init__(self) -> None:
        if min(self.num_heads, self.num_kv_heads, self.head_dim) < 1 or self.num_heads % self.num_kv_heads:
            raise CheckpointError(
                f"config.json: {self.num_heads} query heads and {self.num_kv_heads} key/value heads of "
                f"{self.head_dim} dimensions do not fit together"
            )

    @property
    def q_size(self) -> int:
        """Width of all query heads."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.num_kv_heads * self.head_dim

    def states(self) -> tuple[StateSpec, ...]:
        """Return the keys and values, [num_kv_heads, positions, head_dim] each."""
        shape = (self.num_kv_heads, None, self.head_dim)
        return StateSpec("key", shape), StateSpec("value", shape)

    def limited_to(self, max_positions: int) -> AttentionSpec:
        """Return the attention for sequences of at most this length."""
        return replace(
            self,
            rope=self.rope and self.rope.limited_to(max_positions),
            window=self.window if self.window is not None and self.window < max_positions else None,
        )

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes: Shapes = {}
        for module, size in (("q", self.q_size), ("k", self.kv_size), ("v", self.kv_size)):
            shapes |= linear_shapes(module, size, hidden_size, bias=self.qkv_bias)
        if self.output_gate:
            shapes |= linear_shapes("gate", self.q_size, hidden_size, bias=self.qkv_bias)
        for module, heads in (("q_norm", self.num_heads), ("k_norm", self.num_kv_heads)):
            sizes = {
                "head": (self.head_dim,),
                "heads": (heads, self.head_dim),
                "projection": (heads * self.head_dim,),
            }
            shapes |= norm_shapes(module, self.qk_norm, *sizes[self.qk_norm_over])
        shapes |= norm_shapes("v_norm", self.v_norm, self.head_dim)
        if self.sinks:
            shapes["sinks"] = (self.num_heads,)
        return shapes | linear_shapes("output", hidden_size, self.q_size, bias=self.output_bias)
