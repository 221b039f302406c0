"""How far a folder's logits may be from the checkpoint's, by precision, and why so far.

The reference always computes in float32. A float32 folder does the same arithmetic in another order, so its logits are
compared one by one and its greedy tokens must be the same. Every other precision rounds weights, so its distributions
are compared: the Kullback-Leibler divergence KL(reference || folder), the mean over positions in nats per token, and
how often both have the same most likely token (top-1).

The limits tell an export that went wrong from one that is merely rounded; they do not rate it. A wrong scale, a
transposed weight or another model's checkpoint leaves a top-1 agreement of a few percent and, in a trained model, costs
several nats. So the divergence of int8 and int4 is held to about three times the most that was measured on real models (int4-small: twice),
and the top-1 agreement, which a model with flat distributions (one with random weights, say) loses at the slightest
rounding, to less.

- fp16 rounds to 11 significant bits, a relative error of 5e-4 per weight: about 1e-5 nats, 1e-3 where rounding makes a
  mixture choose other experts.
- bf16 rounds to 8 significant bits, eight times as coarse, and divergence grows with the square of the error.
- int8, activations at 8 bits too: 0.0076 nats on SmolLM2-135M-Instruct, 0.0041 on gemma-3-270m, and 94 to 96 % of the
  tokens the same.
- a KV cache of 8-bit codes makes an int8 of every float type: 1e-3 to 2e-3 nats in trained models.
- int4: 0.14 nats and 76 %, with channels rescaled 0.14 and 75 %; 0.15 and 78 % on gemma-3-270m. An int4 that ruins the
  model, all matrices by rounding to nearest without zero points, which costs SmolLM2 a third of its perplexity, has 0.58 to
  0.61 nats and 48 to 51 %, and fails.
- int4-small: 0.39 nats and 62 %, 0.25 and 68 %. A budget of bits may cost as much, and is judged alike.

These are of the four prompts of `genai validate`, German and Japanese among them, where both models are weak and rounding
costs twice as much as on the texts of docs/quantization.md.

Two ways of running one folder differ by float error: log-probabilities of the likeliest tokens by 3e-5 in SmolLM2-135M at
fp32, by 5e-5 in SmolLM2 and gemma-3-270m at int8 and int4 with float activations, and by 0.055 in SmolLM2 with fp16
activations, of which the limit is about three times as much; bf16 is eight times as coarse. With activations rounded to 8 bits
they differ by up to 0.76, and the distributions by 0.0008 to 0.0053 nats in the mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from genai.errors import OptionError

__all__ = [
    "ROUNDED_SELF_TOLERANCE",
    "SELF_TOLERANCES",
    "TOLERANCES",
    "SelfTolerance",
    "Tolerance",
    "tolerance_for",
]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Limits on the difference from the reference; None does not judge.

    Args:
        max_error: Most absolute difference of a logit. Greedy tokens must then be the reference's, too.
        max_kl: Most mean divergence, in nats per token.
        min_top1: Least share of positions with the same most likely token, 0 to 1.
    """

    max_error: float | None = None
    max_kl: float | None = None
    min_top1: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_error", "max_kl"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"{name} must be greater than 0, not {value}")
        if self.min_top1 is not None and not 0 <= self.min_top1 <= 1:
            raise OptionError(f"min_top1 must be from 0 to 1, not {self.min_top1}")


@dataclass(frozen=True, slots=True)
class SelfTolerance:
    """A limit on the difference between two ways of running the folder itself: cached or whole, batched or alone.

    Args:
        limit: Most difference of a token's log-probability.
        is_mean: Whether it limits the mean divergence instead, in nats per token.
    """

    limit: float
    is_mean: bool = False


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_error=1e-4),
    "fp16": Tolerance(max_kl=0.005, min_top1=0.95),
    "bf16": Tolerance(max_kl=0.03, min_top1=0.9),
    "int8": Tolerance(max_kl=0.025, min_top1=0.8),
    "int4": Tolerance(max_kl=0.4, min_top1=0.2),
    "int4-small": Tolerance(max_kl=0.8, min_top1=0.2),
}

SELF_TOLERANCES: Mapping[str | None, SelfTolerance] = {
    "fp32": SelfTolerance(1e-3),
    "fp16": SelfTolerance(0.15),
    "bf16": SelfTolerance(1.0),
}
"""By the float type that a folder computes in, where nothing is rounded to fewer bits."""

ROUNDED_SELF_TOLERANCE = SelfTolerance(0.03, is_mean=True)
"""Where activations are rounded to 8 bits, or a cache is."""


def tolerance_for(precision: str, **limits: float | None) -> Tolerance:
    """Return a precision's limits with those that the caller gave in their place.

    Raises:
        OptionError: A limit is impossible.

    >>> tolerance_for("int4", max_kl=0.1, min_top1=None).max_kl
    0.1
    """
    given = {name: value for name, value in limits.items() if value is not None}
    return dataclasses.replace(TOLERANCES[precision], **given)
