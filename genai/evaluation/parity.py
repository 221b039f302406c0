"""The checks against a checkpoint: how far the folder's logits are from the reference's, and whether tokens differ.

The folder continues each prompt greedily; the reference then runs once over the prompt and that continuation. Until the
first token that the reference would not have chosen, that is what the reference would have generated itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genai.errors import CheckpointError, TokenizerError
from genai.evaluation.continuation import Continuation, log_softmax
from genai.evaluation.prompts import TEXTS
from genai.evaluation.report import Check, failed, passed, skipped
from genai.evaluation.tolerance import Tolerance
from genai.text import Tokenizer

__all__ = ["Difference", "check_parity", "check_same_tokens", "measure_difference"]


@dataclass(frozen=True, slots=True)
class Difference:
    """How the folder differs from the reference.

    Args:
        max_error: Greatest absolute difference of a logit, over prompts and continuations.
        mean_kl: KL(reference || folder) in nats per token, the mean over the prompts' positions.
        max_kl: The greatest of them.
        top1: Share of the prompts' positions at which both have the same most likely token.
        num_positions: Positions of the prompts.
        agreements: For each prompt, how many generated tokens the reference would have generated, too.
        num_generated: For each prompt, how many tokens were generated.
        num_requested: How many should have been; more than were where the context had no room for them.
    """

    max_error: float
    mean_kl: float
    max_kl: float
    top1: float
    num_positions: int
    agreements: tuple[int, ...]
    num_generated: tuple[int, ...]
    num_requested: int

    @property
    def agreement(self) -> str:
        """How many greedy tokens agree, in words."""
        text = f"the first {_span(self.agreements)} of {_span(self.num_generated)} greedy tokens agree"
        if min(self.num_generated) < self.num_requested:
            text += f" (the context has no room for the {self.num_requested} that were wanted)"
        return text


def measure_difference(
    continuations: Sequence[Continuation],
    reference: Callable[[Sequence[int]], npt.NDArray[np.float32]],
    *,
    num_requested: int,
    tie_margin: float,
) -> Difference:
    """Run the reference over the folder's continuations and compare.

    Args:
        continuations: What the folder made of the prompts.
        reference: Returns the checkpoint's logits at every one of some tokens, float32 [num_tokens, vocab].
        num_requested: How many tokens the prompts should have been continued with.
        tie_margin: A generated token agrees if its reference logit is within this of the greatest one: of two logits
            closer than the float error, either is right.

    Raises:
        CheckpointError: The reference has another vocabulary.
    """
    errors, divergences, same, agreements = [], [], [], []
    for each in continuations:
        expected = reference(each.token_ids)
        if expected.shape != each.logits.shape:
            raise CheckpointError(
                f"the checkpoint has {expected.shape[-1]} logits per token, the folder {each.logits.shape[-1]}: it "
                "was made from another checkpoint"
            )
        num_prompt = len(each.prompt)
        errors.append(np.abs(expected - each.logits).max())
        divergences.append(_divergence(expected[:num_prompt], each.logits[:num_prompt]))
        same.append(expected[:num_prompt].argmax(axis=-1) == each.logits[:num_prompt].argmax(axis=-1))
        agreements.append(_agreement(expected[num_prompt - 1 :], each.result.token_ids, tie_margin))
    kl = np.concatenate(divergences)
    return Difference(
        max_error=float(np.max(errors)),
        mean_kl=float(kl.mean()),
        max_kl=float(kl.max()),
        top1=float(np.concatenate(same).mean()),
        num_positions=kl.size,
        agreements=tuple(agreements),
        num_generated=tuple(len(each.result.token_ids) for each in continuations),
        num_requested=num_requested,
    )


def check_parity(difference: Difference, tolerance: Tolerance) -> Iterator[Check]:
    """Yield one check for every limit that the tolerance has."""
    d, t = difference, tolerance
    figures: dict[str, object]
    if t.max_error is not None:
        figures = {"max_error": d.max_error, "mean_kl": d.mean_kl, "top1": d.top1}
        detail = f"largest difference {d.max_error:.2g}"
        yield _judge("logits", d.max_error <= t.max_error, detail, f"at most {t.max_error:g}", figures)
        figures = {"agreements": list(d.agreements), "num_generated": list(d.num_generated)}
        yield _judge("greedy", d.agreements == d.num_generated, d.agreement, "all", figures)
    if t.max_kl is not None:
        figures = {"mean_kl": d.mean_kl, "max_kl": d.max_kl, "max_error": d.max_error}
        detail = f"{d.mean_kl:.2g} nats per token, {d.max_kl:.2g} at most; logits differ by {d.max_error:.2g} at most"
        yield _judge("divergence", d.mean_kl <= t.max_kl, detail, f"a mean of at most {t.max_kl:g}", figures)
    if t.min_top1 is not None:
        figures = {"top1": d.top1, "num_positions": d.num_positions, "agreements": list(d.agreements)}
        detail = f"{d.top1:.1%} of {d.num_positions} positions; {d.agreement}"
        yield _judge("top1", d.top1 >= t.min_top1, detail, f"at least {t.min_top1:.1%}", figures)


def check_same_tokens(tokenizer: Tokenizer | None, checkpoint: Path) -> Check:
    """See that the folder's tokenizer cuts texts as the checkpoint's does."""
    if tokenizer is None:
        return skipped(
            "same_tokens", "the folder has no tokenizer that can be read: fixed token ids are compared"
        )
    try:
        expected = Tokenizer.from_folder(checkpoint)
    except TokenizerError as error:
        return skipped("same_tokens", str(error))
    ours, theirs = tokenizer.encode_batch(TEXTS), expected.encode_batch(TEXTS)
    differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
    figures = {"num_texts": len(TEXTS), "num_differing": differing}
    if differing:
        problem = (
            f"{differing} of {len(TEXTS)} texts become other tokens than with the checkpoint's tokenizer"
        )
        return failed("same_tokens", problem, **figures)
    return passed("same_tokens", f"{len(TEXTS)} texts become the same tokens", **figures)


def _judge(name: str, is_right: bool, detail: str, limit: str, figures: Mapping[str, object]) -> Check:
    if is_right:
        return passed(name, f"{detail} (allowed: {limit})", **figures)
    return failed(name, f"{detail}; allowed is {limit}", **figures)


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least}" if least == most else f"{least} to {most}"


def _divergence(
    expected: npt.NDArray[np.float32], logits: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return KL(expected || logits) of every row, in nats."""
    target = log_softmax(expected)
    kl: npt.NDArray[np.float64] = (np.exp(target) * (target - log_softmax(logits))).sum(axis=-1)
    return kl


def _agreement(expected: npt.NDArray[np.float32], token_ids: Sequence[int], tie_margin: float) -> int:
    """Return how many tokens pass before the first that the reference would not have chosen."""
    for count, (row, token_id) in enumerate(zip(expected, token_ids, strict=True)):
        if not row.max() - row[token_id] <= tie_margin:
            return count
    return len(token_ids)
