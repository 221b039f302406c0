"""A whole decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from genai.export.architecture.altup import AltUpSpec
from genai.export.architecture.attention import AlibiSpec, AttentionSpec
from genai.export.architecture.latent_attention import LatentAttentionSpec
from genai.export.architecture.layer import LayerSpec
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes, scoped
from genai.export.architecture.per_layer_input import PerLayerInputSpec
from genai.export.architecture.rope import RopeSpec

__all__ = ["DecoderSpec"]


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """A whole decoder.

    Args:
        vocab_size: Rows of the embedding and of the head.
        hidden_size: Width of the residual stream.
        max_positions: Longest sequence.
        layers: The layers, in order.
        final_norm: Before the head, if any.
        tied: Whether the head's weight is the embedding's.
        embedding_scale: Factor on the embeddings.
        embedding_size: Width of the embeddings and of what the head reads, where they are projected to the stream's width
            and back; `None` if they have it.
        embedding_norm: On the embeddings, if any.
        learned_positions: Rows of the position embedding that is added to the token's, if there is one.
        position_offset: Rows of the position embedding before that of position 0.
        head_bias: Whether the head has a bias.
        logit_scale: Factor on the logits.
        logit_softcap: Logits become softcap * tanh(logit / softcap); `None` is off.
        altup: The several residual streams, if there is not just one.
        per_layer_input: What every layer adds to the stream for each token by itself, if anything.
        max_positions_reason: Why sequences can be no longer than max_positions, where there is a special reason.
    """

    vocab_size: int
    hidden_size: int
    max_positions: int
    layers: tuple[LayerSpec, ...]
    final_norm: NormSpec | None
    tied: bool
    embedding_scale: float = 1.0
    embedding_size: int | None = None
    embedding_norm: NormSpec | None = None
    learned_positions: int | None = None
    position_offset: int = 0
    head_bias: bool = False
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    altup: AltUpSpec | None = None
    per_layer_input: PerLayerInputSpec | None = None
    max_positions_reason: str | None = None

    @property
    def head_width(self) -> int:
        """Width of what the head reads, and of the embeddings."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def ropes(self) -> tuple[RopeSpec, ...]:
        """The distinct rotary embeddings, in the order of their first use."""
        mixers = [mixer for layer in self.layers for mixer in layer.mixers]
        return tuple(dict.fromkeys(mixer.rope for mixer in mixers if mixer.rope))

    @property
    def alibis(self) -> tuple[AlibiSpec, ...]:
        """The distinct linear biases, in the order of their first use."""
        return tuple(dict.fromkeys(a.alibi for a in self.attentions if a.alibi is not None))

    @property
    def chunks(self) -> tuple[int, ...]:
        """The distinct sizes of chunks that attention is confined to, in the order of their first use."""
        return tuple(dict.fromkeys(a.chunk for a in self.attentions if a.chunk is not None))

    @property
    def attentions(self) -> tuple[AttentionSpec, ...]:
        """The layers' mixers that are softmax attention."""
        mixers = (mixer for layer in self.layers for mixer in layer.mixers)
        return tuple(mixer for mixer in mixers if isinstance(mixer, AttentionSpec))

    @property
    def attention(self) -> AttentionSpec | LatentAttentionSpec | None:
        """The first mixer with keys and values, whose heads stand for all in configurations; `None` without any."""
        mixers = (mixer for layer in self.layers for mixer in layer.mixers)
        return next((m for m in mixers if isinstance(m, (AttentionSpec, LatentAttentionSpec))), None)

    @property
    def state_bytes(self) -> int:
        """Bytes of a sequence's states of a fixed size, in float32, each of which a run reads and writes anew."""
        shapes = [state.shape for layer in self.layers for state in layer.states()]
        return 2 * 4 * sum(math.prod(filter(None, shape)) for shape in shapes if None not in shape)

    @property
    def rope_switch_length(self) -> int | None:
        """Longest sequence whose positions use the first rows of the rotary tables; `None` if all do."""
        return next((rope.switch_length for rope in self.ropes if rope.switch_length is not None), None)

    def limited_to(self, max_positions: int) -> DecoderSpec:
        """Return the decoder for sequences of at most this length, without what only longer ones need."""
        layers = tuple(layer.limited_to(max_positions) for layer in self.layers)
        return replace(self, max_positions=max_positions, layers=layers)

    def parameters(self) -> Shapes:
        """Return the shape of every parameter by its canonical name; matrices are [outputs, inputs]."""
        shapes = linear_shapes("embedding", self.vocab_size, self.head_width)
        if self.embedding_size is not None:
            shapes |= linear_shapes("embedding_projection", self.hidden_size, self.embedding_size)
            shapes |= linear_shapes("head_projection", self.embedding_size, self.hidden_size)
        if self.learned_positions is not None:
            rows = self.learned_positions + self.position_offset
            shapes |= linear_shapes("position_embedding", rows, self.hidden_size)
        shapes |= norm_shapes("embedding_norm", self.embedding_norm, self.hidden_size)
        for index, layer in enumerate(self.layers):
            shapes |= scoped(f"layers.{index}", layer.parameters(self.hidden_size))
            if layer.shared is not None:
                shapes |= scoped(layer.shared.scope, layer.shared.block_parameters(self.hidden_size))
            if self.altup is not None:
                shapes |= scoped(f"layers.{index}", self.altup.layer_parameters(self.hidden_size))
            if self.per_layer_input is not None:
                shapes |= scoped(f"layers.{index}", self.per_layer_input.layer_parameters(self.hidden_size))
        if self.altup is not None:
            shapes |= self.altup.parameters(self.hidden_size)
        if self.per_layer_input is not None:
            shapes |= self.per_layer_input.parameters(self.hidden_size, len(self.layers))
        shapes |= norm_shapes("final_norm", self.final_norm, self.hidden_size)
        if not self.tied:
            shapes |= linear_shapes("head", self.vocab_size, self.head_width)
        if self.head_bias:
            shapes["head.bias"] = (self.vocab_size,)
        return shapes
