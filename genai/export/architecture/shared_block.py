"""Blocks of attention and feed-forward that several layers share (Zamba 2, https://arxiv.org/abs/2411.15242)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from genai.export.architecture.attention import AttentionSpec
from genai.export.architecture.feed_forward import MlpSpec
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes, scoped

__all__ = ["SharedBlockSpec"]


@dataclass(frozen=True, slots=True)
class SharedBlockSpec:
    """A block that reads the residual stream and the embeddings, and what a layer makes of it for its mixer to read.

    The layer's mixer reads the norm of stream + output(block), while the stream itself stays as it is, where

        block = mlp(mlp_norm(attention(input_norm([stream, embeddings]))))

    The block's weights are those of every layer with the same number. The output projection is the layer's own, and so are
    products of low rank that are added to the block's: W x + up(down(x)).

    Args:
        number: Which of the decoder's blocks it is.
        attention: Its attention, which reads twice the stream's width and writes once; each layer has its own cache.
        mlp: Its feed-forward block.
        norm: Its norms.
        rank: Width between the layer's own products, those beside gate and up, and beside queries, keys and values.
        adapts_attention: Whether the layer has those beside queries, keys and values.
    """

    number: int
    attention: AttentionSpec
    mlp: MlpSpec
    norm: NormSpec
    rank: int
    adapts_attention: bool

    @property
    def scope(self) -> str:
        """The scope of the block's own parameters in the decoder."""
        return f"blocks.{self.number}"

    def limited_to(self, max_positions: int) -> SharedBlockSpec:
        """Return the block for sequences of at most this length."""
        return replace(self, attention=self.attention.limited_to(max_positions))

    def block_parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of the parameters that all layers share, by their names within its scope."""
        attention = self.attention.parameters(2 * hidden_size)
        attention |= linear_shapes("output", hidden_size, self.attention.q_size)
        return (
            norm_shapes("input_norm", self.norm, 2 * hidden_size)
            | scoped(self.attention.scope, attention)
            | norm_shapes("mlp_norm", self.norm, hidden_size)
            | scoped(self.mlp.scope, self.mlp.parameters(hidden_size))
        )

    def layer_parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of the layer's own parameters, by their names within it."""
        shapes = linear_shapes("output", hidden_size, hidden_size)
        shapes |= _low_rank("gate_up", 2 * self.mlp.intermediate_size, hidden_size, self.rank)
        if self.adapts_attention:
            for module, size in self.attention.projections.items():
                shapes |= _low_rank(module, size, 2 * hidden_size, self.rank)
        return scoped("shared", shapes)


def _low_rank(module: str, num_outputs: int, num_inputs: int, rank: int) -> Shapes:
    return linear_shapes(f"{module}.lora_A", rank, num_inputs) | linear_shapes(
        f"{module}.lora_B", num_outputs, rank
    )
