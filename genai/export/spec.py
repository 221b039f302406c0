"""What a decoder is, as frozen values: the only thing that a family says to the builder besides weight names.

A spec holds numbers and choices that are already checked; it knows neither config.json nor ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from genai.errors import CheckpointError
from genai.export.rope import RopeSpec

__all__ = ["ACTIVATIONS", "Activation", "AttentionSpec", "DecoderSpec", "LayerSpec", "MlpSpec", "NormSpec"]

Activation = Literal["silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "relu2"]

ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu2",
}
"""Hugging Face's names of activations, and what they are."""


@dataclass(frozen=True, slots=True)
class NormSpec:
    """A normalization over the last axis.

    Args:
        kind: "rms" divides by the root mean square; "layer" also subtracts the mean.
        eps: Added to the variance.
        offset: Added to the stored weight (gemma stores weight - 1).
        bias: Whether a bias is added.
    """

    kind: Literal["rms", "layer"]
    eps: float
    offset: float = 0.0
    bias: bool = False


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
        qk_norm: Normalization of each query and key head before the rotary embedding, if any.
        qkv_bias: Whether the query, key and value projections have biases.
        output_bias: Whether the output projection has one.

    Raises:
        CheckpointError: The heads do not fit together.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float | None = None
    softcap: float | None = None
    window: int | None = None
    rope: RopeSpec | None = None
    qk_norm: NormSpec | None = None
    qkv_bias: bool = False
    output_bias: bool = False

    def __post_init__(self) -> None:
        if min(self.num_heads, self.num_kv_heads, self.head_dim) < 1 or self.num_heads % self.num_kv_heads:
            raise CheckpointError(
                f"config.json: {self.num_heads} query heads and {self.num_kv_heads} key/value heads of "
                f"{self.head_dim} dimensions do not fit together"
            )


@dataclass(frozen=True, slots=True)
class MlpSpec:
    """A feed-forward block: down(act(gate(x)) * up(x)) if gated, else down(act(up(x)))."""

    intermediate_size: int
    activation: Activation
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A decoder layer: where the norms are, and whether attention and feed-forward run one after the other.

    Args:
        attention: The attention.
        mlp: The feed-forward block.
        input_norm: Before the attention.
        mlp_norm: Before the feed-forward block; `None` if it reads what the attention reads.
        attention_output_norm: On the attention's output before it is added, if any.
        mlp_output_norm: On the feed-forward block's output before it is added, if any.
        parallel: Attention and feed-forward block both read the layer's input, and their sum is added.
    """

    attention: AttentionSpec
    mlp: MlpSpec
    input_norm: NormSpec
    mlp_norm: NormSpec | None = None
    attention_output_norm: NormSpec | None = None
    mlp_output_norm: NormSpec | None = None
    parallel: bool = False


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """A whole decoder.

    Args:
        vocab_size: Rows of the embedding and of the head.
        hidden_size: Width of the residual stream.
        max_positions: Longest sequence.
        layers: The layers, in order.
        final_norm: Before the head.
        tied: Whether the head's weight is the embedding's.
        embedding_scale: Factor on the embeddings.
        learned_positions: Rows of the position embedding that is added to the token's, if there is one.
        head_bias: Whether the head has a bias.
        logit_softcap: Logits become softcap * tanh(logit / softcap); `None` is off.
        max_positions_reason: Why sequences can be no longer than max_positions, where there is a special reason.
    """

    vocab_size: int
    hidden_size: int
    max_positions: int
    layers: tuple[LayerSpec, ...]
    final_norm: NormSpec
    tied: bool
    embedding_scale: float = 1.0
    learned_positions: int | None = None
    head_bias: bool = False
    logit_softcap: float | None = None
    max_positions_reason: str | None = None

    @property
    def ropes(self) -> tuple[RopeSpec, ...]:
        """The distinct rotary embeddings, in the order of their first use."""
        return tuple(dict.fromkeys(layer.attention.rope for layer in self.layers if layer.attention.rope))

    @property
    def rope_switch_length(self) -> int | None:
        """Longest sequence whose positions use the first rows of the rotary tables; `None` if all do."""
        return next((rope.switch_length for rope in self.ropes if rope.switch_length is not None), None)

    def limited_to(self, max_positions: int) -> DecoderSpec:
        """Return the decoder for sequences of at most this length, without what only longer ones need."""
        layers = []
        for layer in self.layers:
            rope, window = layer.attention.rope, layer.attention.window
            attention = replace(
                layer.attention,
                rope=rope and rope.limited_to(max_positions),
                window=window if window is not None and window < max_positions else None,
            )
            layers.append(replace(layer, attention=attention))
        return replace(self, max_positions=max_positions, layers=tuple(layers))

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter by its canonical name; matrices are [outputs, inputs]."""
        shapes = _Shapes()
        shapes.table("embedding", self.vocab_size, self.hidden_size)
        if self.learned_positions is not None:
            shapes.table("position_embedding", self.learned_positions, self.hidden_size)
        for index, layer in enumerate(self.layers):
            _layer_parameters(shapes, f"layers.{index}.", layer, self.hidden_size)
        shapes.norm("final_norm", self.final_norm, self.hidden_size)
        if not self.tied:
            shapes.table("head", self.vocab_size, self.hidden_size)
        if self.head_bias:
            shapes.by_name["head.bias"] = (self.vocab_size,)
        return shapes.by_name


@dataclass(frozen=True, slots=True)
class _Shapes:
    by_name: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def table(self, module: str, num_rows: int, num_columns: int) -> None:
        self.by_name[f"{module}.weight"] = (num_rows, num_columns)

    def linear(self, module: str, num_outputs: int, num_inputs: int, *, bias: bool) -> None:
        self.table(module, num_outputs, num_inputs)
        if bias:
            self.by_name[f"{module}.bias"] = (num_outputs,)

    def norm(self, module: str, spec: NormSpec | None, size: int) -> None:
        if spec is not None:
            self.by_name[f"{module}.weight"] = (size,)
            if spec.bias:
                self.by_name[f"{module}.bias"] = (size,)


def _layer_parameters(shapes: _Shapes, prefix: str, layer: LayerSpec, hidden_size: int) -> None:
    attention, mlp = layer.attention, layer.mlp
    q_size = attention.num_heads * attention.head_dim
    kv_size = attention.num_kv_heads * attention.head_dim
    shapes.norm(f"{prefix}input_norm", layer.input_norm, hidden_size)
    for module, size in (("q", q_size), ("k", kv_size), ("v", kv_size)):
        shapes.linear(f"{prefix}attention.{module}", size, hidden_size, bias=attention.qkv_bias)
    for module in ("q_norm", "k_norm"):
        shapes.norm(f"{prefix}attention.{module}", attention.qk_norm, attention.head_dim)
    shapes.linear(f"{prefix}attention.output", hidden_size, q_size, bias=attention.output_bias)
    shapes.norm(f"{prefix}attention_output_norm", layer.attention_output_norm, hidden_size)
    shapes.norm(f"{prefix}mlp_norm", layer.mlp_norm, hidden_size)
    for module in ("gate", "up") if mlp.gated else ("up",):
        shapes.linear(f"{prefix}mlp.{module}", mlp.intermediate_size, hidden_size, bias=mlp.bias)
    shapes.linear(f"{prefix}mlp.down", hidden_size, mlp.intermediate_size, bias=mlp.bias)
    shapes.norm(f"{prefix}mlp_output_norm", layer.mlp_output_norm, hidden_size)
