"""What Gemma 3n adds around its layers: several residual streams, and a learned residual of low rank."""

from __future__ import annotations

from dataclasses import dataclass

from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes, scoped

__all__ = ["AltUpSpec", "LaurelSpec"]


@dataclass(frozen=True, slots=True)
class AltUpSpec:
    """Alternating updates (https://arxiv.org/abs/2301.13310): a layer computes one of several residual streams.

    Before the layer every stream is predicted from all of them; what the layer changed in its own prediction then
    corrects every stream. The factors come from the stream that the layer reads, and after it from its output.

    Args:
        num_streams: Residual streams.
        active: The stream that the layers compute.
        scales_input: Whether a layer's own input of a token is gated by the corrected stream times a learned vector.
        norm: Before the router of the factors.
    """

    num_streams: int
    active: int
    scales_input: bool
    norm: NormSpec

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of what is before and after all layers, by their names."""
        shapes: Shapes = {}
        for index in range(1, self.num_streams):
            shapes |= linear_shapes(f"altup.embed.{index}", hidden_size, hidden_size)
            shapes |= linear_shapes(f"altup.unembed.{index}", hidden_size, hidden_size)
        return shapes

    def layer_parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of a layer's own parameters, by their names within the layer."""
        shapes = (
            linear_shapes("router", self.num_streams, hidden_size)
            | norm_shapes("router_norm", self.norm, hidden_size)
            | linear_shapes("predictions", self.num_streams**2, self.num_streams)
            | linear_shapes("corrections", self.num_streams, self.num_streams)
        )
        if self.scales_input:
            shapes["input_scale"] = (hidden_size,)
        return scoped("altup", shapes)


@dataclass(frozen=True, slots=True)
class LaurelSpec:
    """A learned residual beside the mixer (https://arxiv.org/abs/2411.07501): x + norm(right(left(x))).

    It is added to the stream with the mixer's output, and the sum divided by sqrt(2).

    Args:
        rank: Width between the two matrices.
        norm: On their product.
    """

    rank: int
    norm: NormSpec

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within the layer."""
        return scoped(
            "laurel",
            linear_shapes("left", self.rank, hidden_size)
            | linear_shapes("right", hidden_size, self.rank)
            | norm_shapes("norm", self.norm, hidden_size),
        )
