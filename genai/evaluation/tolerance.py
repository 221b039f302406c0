"""How far a folder's logits may be from the checkpoint's, by precision, and why so far.

The reference always computes in float32. A float32 folder does the same arithmetic in another order, so its logits are
compared one by one and its greedy tokens must be the same. Every other precision rounds weights, so its distributions
are compared: the Kullback-Leibler divergence KL(reference || folder), the mean over positions in nats per token, and
how often both have the same most likely token (top-1).

The limits tell an export that went wrong from one that is merely rounded; they do not rate it. A wrong scale, a
transposed weight or another model's checkpoint leaves a top-1 agreement of a few percent and, in a trained model, costs
several nats. So the divergence is held to a few times what rounding costs at worst, and the top-1 agreement, which a
model with flat distributions (one with random weights, say) loses at the slightest rounding, to less.

- fp16 rounds to 11 significant bits, a relative error of 5e-4 per weight: about 1e-5 nats, 1e-3 where rounding makes a
  mixture choose other experts.
- bf16 rounds to 8 significant bits, eight times as coarse, and divergence grows with the square of the error.
- int8 in blocks is about as coarse as bf16, and activations may be rounded to 8 bits too: 1e-3 to 2e-2 nats.
- a KV cache of 8-bit codes makes an int8 of every float type: 1e-3 to 2e-3 nats in trained models.
- int4 by rounding to nearest has 15 levels per block: 0.05 nats for models of 7 billion parameters, up to 0.3 for those
  below one billion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from genai.errors import OptionError

__all__ = ["TOLERANCES", "Tolerance", "tolerance_for"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Limits on the difference from the reference; None does not judge.

    Args:
        max_self_error: Most difference of a token's log-probability between ways of running the folder itself (cached or
            whole, batched or alone).
        max_error: Most absolute difference of a logit. Greedy tokens must then be the reference's, too.
        max_kl: Most mean divergence, in nats per token.
        min_top1: Least share of positions with the same most likely token, 0 to 1.
    """

    max_self_error: float
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


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_self_error=1e-4, max_error=1e-4),
    "fp16": Tolerance(max_self_error=0.05, max_kl=0.005, min_top1=0.95),
    "bf16": Tolerance(max_self_error=0.25, max_kl=0.03, min_top1=0.9),
    "int8": Tolerance(max_self_error=0.25, max_kl=0.05, min_top1=0.8),
    "int4": Tolerance(max_self_error=0.25, max_kl=0.5, min_top1=0.2),
}


def tolerance_for(precision: str, **limits: float | None) -> Tolerance:
    """Return a precision's limits with those that the caller gave in their place.

    Raises:
        OptionError: A limit is impossible.

    >>> tolerance_for("int4", max_kl=0.1, min_top1=None).max_kl
    0.1
    """
    given = {name: value for name, value in limits.items() if value is not None}
    return dataclasses.replace(TOLERANCES[precision], **given)
