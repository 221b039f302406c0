"""Embeddings of the tokens that each layer has for itself (Gemma 3n, https://ai.google.dev/gemma/docs/gemma-3n)."""

from __future__ import annotations

from dataclasses import dataclass

from genai.export.architecture.feed_forward import Activation
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes, scoped

__all__ = ["PerLayerInputSpec"]


@dataclass(frozen=True, slots=True)
class PerLayerInputSpec:
    """A layer's input of a token: from a table, and projected from the embedding, each of weight 1 / sqrt(2).

    After its feed-forward block the layer adds norm(projection(act(gate(stream)) * input)).

    Args:
        vocab_size: Rows of the table; tokens beyond it read its first row.
        size: Width of one layer's input.
        activation: Of the gate.
        norm: Of all the norms here.
    """

    vocab_size: int
    size: int
    activation: Activation
    norm: NormSpec

    def parameters(self, hidden_size: int, num_layers: int) -> Shapes:
        """Return the shapes of what all layers share, by their names."""
        return scoped(
            "per_layer_input",
            linear_shapes("embedding", self.vocab_size, num_layers * self.size)
            | linear_shapes("projection", num_layers * self.size, hidden_size)
            | norm_shapes("norm", self.norm, self.size),
        )

    def layer_parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of a layer's own parameters, by their names within the layer."""
        return scoped(
            "layer_input",
            linear_shapes("gate", self.size, hidden_size)
            | linear_shapes("projection", hidden_size, self.size)
            | norm_shapes("norm", self.norm, hidden_size),
        )
