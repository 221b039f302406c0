"""Feed-forward blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, norm_shapes

__all__ = ["ACTIVATIONS", "Activation", "MlpSpec"]

Activation = Literal["silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "xielu"]

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
"""Hugging Face's names of activations without parameters, and what they are."""


@dataclass(frozen=True, slots=True)
class MlpSpec:
    """A feed-forward block: down(norm(act(gate(x)) * up(x))) if gated, else down(act(up(x))).

    Args:
        intermediate_size: Width between the matrices.
        activation: What `act` is; xIELU has parameters of its own.
        gated: Whether there is a gate.
        bias: Whether the matrices have biases.
        sparsity: Share of a gate's values that are cut off before the activation if they are normally distributed:
            it reads relu(gate - cutoff).
        gate_scale: Factor on the gate before the activation, if there is a gate.
        output_scale: Factor on the output, if there is a gate.
        down_norm: Before `down`, if there is a gate and a norm.
    """

    scope: ClassVar[str] = "mlp"

    intermediate_size: int
    activation: Activation
    gated: bool = True
    bias: bool = False
    sparsity: float = 0.0
    gate_scale: float = 1.0
    output_scale: float = 1.0
    down_norm: NormSpec | None = None

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes: Shapes = {}
        for module in ("gate", "up") if self.gated else ("up",):
            shapes |= linear_shapes(module, self.intermediate_size, hidden_size, bias=self.bias)
        if self.activation == "xielu":
            shapes |= {f"activation.{name}": (1,) for name in ("alpha_p", "alpha_n", "beta", "eps")}
        shapes |= norm_shapes("down_norm", self.down_norm, self.intermediate_size)
        return shapes | linear_shapes("down", hidden_size, self.intermediate_size, bias=self.bias)
