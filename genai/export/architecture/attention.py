"""Causal softmax attention with grouped key/value heads, and what families add to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from genai.errors import CheckpointError
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes
from genai.export.architecture.rope import RopeSpec
from genai.export.architecture.state import StateSpec
from genai.graph.names import KEY, VALUE

__all__ = ["AlibiSpec", "AttentionSpec", "QueryScaling"]


@dataclass(frozen=True, slots=True)
class QueryScaling:
    """A factor on the queries that grows with the position: 1 + beta * log(1 + floor((position + offset) / interval)).

    From Llama 4 (https://ai.meta.com/blog/llama-4-multimodal-intelligence/), which counts positions from 1; also in
    Ministral 3, which counts them from 0.
    """

    beta: float
    interval: int
    offset: int = 0

    def limited_to(self, max_positions: int) -> QueryScaling | None:
        """Return the factor for sequences of at most this length; `None` where it is 1 for all of them."""
        return self if max_positions + self.offset > self.interval else None


@dataclass(frozen=True, slots=True)
class AlibiSpec:
    """Linear biases: a head adds its slope times the key's position to the score (https://arxiv.org/abs/2108.12409).

    Args:
        slopes: The slope of each head.
        is_bfloat16: Whether slopes and products are rounded to bfloat16, as a model may have been trained.
        factor: Factor on what is added, after the rounding.
    """

    slopes: tuple[float, ...]
    is_bfloat16: bool = False
    factor: float = 1.0

    @staticmethod
    def slopes_for(num_heads: int, *, bias_max: float = 8) -> tuple[float, ...]:
        """Return the slopes of the paper: a geometric sequence, and every other one of a finer one for what is left.

        Args:
            num_heads: How many.
            bias_max: The last of the sequence is 2 ** -bias_max; 8 in the paper.
        """
        whole = 1 << (num_heads.bit_length() - 1)
        slopes = [2.0 ** (-bias_max * (head + 1) / whole) for head in range(whole)]
        finer = range(num_heads - whole)
        slopes += [2.0 ** (-bias_max * (2 * head + 1) / (2 * whole)) for head in finer]
        return tuple(slopes)


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
        chunk: Positions are cut into chunks of this many, and a token sees none before its own; `None` is off.
        rope: Rotary embedding of queries and keys, if any.
        qk_norm: Normalization of queries and keys, if any.
        qk_norm_over: What it normalizes: each head with one weight for all ("head"), each head with a weight of its
            own ("heads"), or all heads together ("projection").
        qk_norm_after_rope: Whether it comes after the rotary embedding instead of before.
        v_norm: Normalization of each value head, if any.
        qkv_clip: Queries, keys and values are clipped to [-qkv_clip, qkv_clip]; `None` is off.
        query_scaling: Factor on the queries that depends on the position, if any.
        alibi: Linear biases on the scores, if any.
        sinks: Whether each head has a learned score that takes part in the softmax and attends to nothing.
        output_gate: Whether the heads are multiplied by the sigmoid of another projection of the input.
        output_norm: Normalization of all heads together before the output projection, if any.
        values_are_keys: Whether there is no projection of values: they are the keys before norm and rotation.
        reads_layer: The earlier layer whose keys and values it reads; it has none of its own then.
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
    chunk: int | None = None
    rope: RopeSpec | None = None
    qk_norm: NormSpec | None = None
    qk_norm_over: Literal["head", "heads", "projection"] = "head"
    qk_norm_after_rope: bool = False
    v_norm: NormSpec | None = None
    qkv_clip: float | None = None
    query_scaling: QueryScaling | None = None
    alibi: AlibiSpec | None = None
    sinks: bool = False
    output_gate: bool = False
    output_norm: NormSpec | None = None
    values_are_keys: bool = False
    reads_layer: int | None = None
    qkv_bias: bool = False
    output_bias: bool = False

    def __post_init__(self) -> None:
        if min(self.num_heads, self.num_kv_heads, self.head_dim) < 1 or self.num_heads % self.num_kv_heads:
            raise CheckpointError(
                f"config.json: {self.num_heads} query heads and {self.num_kv_heads} key/value heads of "
                f"{self.head_dim} dimensions do not fit together"
            )
        assert self.alibi is None or self.chunk is None, "the kernel adds one bias"

    @property
    def q_size(self) -> int:
        """Width of all query heads."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.num_kv_heads * self.head_dim

    @property
    def projections(self) -> dict[str, int]:
        """The widths of the projections of the input, by module."""
        sizes = {"q": self.q_size}
        if self.reads_layer is None:
            sizes |= {"k": self.kv_size} if self.values_are_keys else {"k": self.kv_size, "v": self.kv_size}
        return sizes | {"gate": self.q_size} if self.output_gate else sizes

    def states(self) -> tuple[StateSpec, ...]:
        """Return the keys and values, [num_kv_heads, positions, head_dim] each, unless they are another layer's."""
        if self.reads_layer is not None:
            return ()
        shape = (self.num_kv_heads, None, self.head_dim)
        return StateSpec(KEY, shape), StateSpec(VALUE, shape)

    def limited_to(self, max_positions: int) -> AttentionSpec:
        """Return the attention for sequences of at most this length."""
        return replace(
            self,
            rope=self.rope and self.rope.limited_to(max_positions),
            window=self.window if self.window is not None and self.window < max_positions else None,
            chunk=self.chunk if self.chunk is not None and self.chunk < max_positions else None,
            query_scaling=self.query_scaling and self.query_scaling.limited_to(max_positions),
        )

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes: Shapes = {}
        for module, size in self.projections.items():
            shapes |= linear_shapes(module, size, hidden_size, bias=self.qkv_bias)
        norms = {"q_norm": self.num_heads}
        if self.reads_layer is None:
            norms["k_norm"] = self.num_kv_heads
            shapes |= norm_shapes("v_norm", self.v_norm, self.head_dim)
        for module, heads in norms.items():
            sizes = {
                "head": (self.head_dim,),
                "heads": (heads, self.head_dim),
                "projection": (heads * self.head_dim,),
            }
            shapes |= norm_shapes(module, self.qk_norm, *sizes[self.qk_norm_over])
        if self.sinks:
            shapes["sinks"] = (self.num_heads,)
        shapes |= norm_shapes("output_norm", self.output_norm, self.q_size)
        return shapes | linear_shapes("output", hidden_size, self.q_size, bias=self.output_bias)
