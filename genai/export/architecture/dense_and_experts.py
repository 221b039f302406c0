"""A dense feed-forward block and a mixture of experts side by side, as in Gemma 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from genai.export.architecture.feed_forward import MlpSpec
from genai.export.architecture.moe import MoeSpec
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, norm_shapes, scoped

__all__ = ["DenseAndExpertsSpec"]


@dataclass(frozen=True, slots=True)
class DenseAndExpertsSpec:
    """dense_output_norm(dense(dense_norm(x))) + experts_output_norm(experts(experts_norm(x))), routed by router_norm(x).

    The block reads the residual stream itself: its layer has no norm before it.

    Args:
        dense: The block that every token passes.
        experts: The experts.
        norm: Of all five norms.
    """

    scope: ClassVar[str] = "mlp"

    dense: MlpSpec
    experts: MoeSpec
    norm: NormSpec

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        names = ("dense_norm", "dense_output_norm", "experts_norm", "experts_output_norm", "router_norm")
        shapes = scoped("dense", self.dense.parameters(hidden_size)) | self.experts.parameters(hidden_size)
        for name in names:
            shapes |= norm_shapes(name, self.norm, hidden_size)
        return shapes
