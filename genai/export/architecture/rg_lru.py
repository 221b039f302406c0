"""Real-gated linear recurrent units behind a short convolution (Griffin, https://arxiv.org/abs/2402.19427)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from genai.errors import CheckpointError
from genai.export.architecture.feed_forward import Activation
from genai.export.architecture.parameters import Shapes, linear_shapes
from genai.export.architecture.state import StateSpec
from genai.graph.names import CONV_STATE, RECURRENT_STATE

__all__ = ["RgLruSpec"]


@dataclass(frozen=True, slots=True)
class RgLruSpec:
    """A number per channel that forgets and learns with every token, by gates of what the channel reads.

    With x of a token after the convolution, each channel's number h becomes

        h = exp(g) h + sqrt(1 - exp(2 g)) * sigmoid(input_gate(x)) * x,    output = h

    where g = -8 softplus(decay_rates) * sigmoid(recurrent_gate(x)); for the first token of a sequence the root is 1. The
    two gates are linear layers within blocks of channels. The output is multiplied by the activation of gate(x).

    Args:
        num_blocks: Blocks of channels.
        block_size: Channels of a block.
        conv_width: Tokens that the convolution sees, the current one included; at least 2.
        activation: What the output's gate passes.

    Raises:
        CheckpointError: There are no channels.
    """

    scope: ClassVar[str] = "recurrent"
    rope: ClassVar[None] = None

    num_blocks: int
    block_size: int
    conv_width: int
    activation: Activation

    def __post_init__(self) -> None:
        if min(self.num_blocks, self.block_size) < 1:
            raise CheckpointError(
                f"config.json: {self.num_blocks} blocks of {self.block_size} channels make no recurrent layer"
            )

    @property
    def num_channels(self) -> int:
        """Channels of all blocks."""
        return self.num_blocks * self.block_size

    def states(self) -> tuple[StateSpec, ...]:
        """Return the last inputs of the convolution, and the channels' numbers, which are float32 in every precision."""
        return (
            StateSpec(CONV_STATE, (self.num_channels, self.conv_width - 1)),
            StateSpec(RECURRENT_STATE, (self.num_channels, 1, 1), is_float32=True),
        )

    def limited_to(self, max_positions: int) -> RgLruSpec:  # noqa: ARG002 - every mixer's signature
        """Return the same units: they know no positions but the first."""
        return self

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope."""
        shapes: Shapes = {
            "filter.weight": (self.num_channels, 1, self.conv_width),
            "filter.bias": (self.num_channels,),
            "decay_rates": (self.num_channels,),
        }
        for name in ("input_gates", "recurrent_gates"):
            shapes[name] = (self.num_blocks, self.block_size, self.block_size)  # [block, inputs, outputs]
            shapes[f"{name}_bias"] = (self.num_blocks, self.block_size)
        for module in ("x", "gate"):
            shapes |= linear_shapes(module, self.num_channels, hidden_size, bias=True)
        return shapes | linear_shapes("output", hidden_size, self.num_channels, bias=True)
