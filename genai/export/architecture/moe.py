"""Mixtures of experts: feed-forward blocks of which each token passes only a few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from genai.errors import CheckpointError
from genai.export.architecture.feed_forward import MlpSpec
from genai.export.architecture.parameters import Shapes, linear_shapes, scoped

__all__ = ["ClampedGate", "MoeSpec", "RouterSpec"]


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """How a token's experts and their weights follow from a linear layer's outputs.

    Args:
        num_experts: Experts in all.
        num_experts_per_token: How many of them a token passes.
        scores: What the outputs become: probabilities over all experts ("softmax"), each one's own ("sigmoid"), or
            SparseMixer's (https://arxiv.org/abs/2409.12136): the best expert and then the best of the others, each
            weighed by a softmax over the experts that come close to it.
        normalize: Whether the weights of a token's experts add up to 1. For "softmax" this is the same as a softmax
            over the chosen experts alone.
        scaling_factor: Factor on the weights, after that.
        num_groups: Consecutive groups of equal size that compete before their experts do.
        num_groups_per_token: Groups that take part.
        num_scores_per_group: How many of a group's best scores add up to the group's.
        correction_bias: Whether a bias is added to the scores for the choice, but not for the weights.
        bias: Whether the linear layer has one.
        expert_scales: Whether each expert's output has a learned factor.
        tolerance: For SparseMixer: by what part of the larger of two outputs the smaller one may be below it.

    Raises:
        CheckpointError: The numbers do not fit together.
    """

    num_experts: int
    num_experts_per_token: int
    scores: Literal["softmax", "sigmoid", "sparse_mixer"] = "softmax"
    normalize: bool = True
    scaling_factor: float = 1.0
    num_groups: int = 1
    num_groups_per_token: int = 1
    num_scores_per_group: int = 1
    correction_bias: bool = False
    bias: bool = False
    expert_scales: bool = False
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        group_size = self.num_experts // max(1, self.num_groups)
        fits = (
            1 <= self.num_groups_per_token <= self.num_groups
            and group_size * self.num_groups == self.num_experts
            and self.num_scores_per_group <= group_size
            and 1 <= self.num_experts_per_token <= group_size * self.num_groups_per_token
            and (self.scores != "sparse_mixer" or self.num_experts_per_token == 2)
        )
        if not fits:
            raise CheckpointError(
                f"config.json: {self.num_experts_per_token} experts of {self.num_experts}, from "
                f"{self.num_groups_per_token} groups of {self.num_groups}, do not fit together"
            )


@dataclass(frozen=True, slots=True)
class ClampedGate:
    """What joins gate and up in gpt-oss: (up + 1) * gate * sigmoid(alpha * gate).

    Args:
        alpha: Factor on the gate within the sigmoid.
        limit: The gate is clipped to at most this, and up to between -limit and limit.
    """

    alpha: float
    limit: float


@dataclass(frozen=True, slots=True)
class MoeSpec:
    """A mixture of experts.

    Args:
        router: How a token's experts are chosen and weighed.
        expert: One expert.
        clamped_gate: What joins its gate and up instead of its activation, if anything.
        shared: A block that every token passes as well, if any.
        shared_gate: Whether that one's output is multiplied by the sigmoid of a linear layer of one output.
        weighs_input: Whether a token's weight multiplies what its one expert reads instead of what that gives (Llama 4).
    """

    scope: ClassVar[str] = "mlp"

    router: RouterSpec
    expert: MlpSpec
    clamped_gate: ClampedGate | None = None
    shared: MlpSpec | None = None
    shared_gate: bool = False
    weighs_input: bool = False

    def __post_init__(self) -> None:
        assert not self.weighs_input or self.router.num_experts_per_token == 1

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within its scope; experts are stacked first."""
        num_experts = self.router.num_experts
        shapes = linear_shapes("router", num_experts, hidden_size, bias=self.router.bias)
        if self.router.correction_bias:
            shapes["router.correction_bias"] = (num_experts,)
        if self.router.expert_scales:
            shapes["router.expert_scales"] = (num_experts,)
        experts = self.expert.parameters(hidden_size)
        shapes |= scoped("experts", {name: (num_experts, *shape) for name, shape in experts.items()})
        if self.shared is not None:
            shapes |= scoped("shared", self.shared.parameters(hidden_size))
        if self.shared_gate:
            shapes |= linear_shapes("shared_gate", 1, hidden_size)
        return shapes
