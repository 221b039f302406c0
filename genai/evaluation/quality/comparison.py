"""Comparing a model's distributions with a reference's, token by token of the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from genai.errors import OptionError
from genai.evaluation.continuation import log_softmax
from genai.evaluation.quality.passages import Passage
from genai.evaluation.quality.perplexity import (
    Advance,
    Floats,
    Logits,
    Scorer,
    perplexity_of,
    row_blocks,
    token_nlls,
)
from genai.generator import Generator

__all__ = ["Comparison", "TokenComparison", "check_same_vocabulary", "compare_tokens"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a model is from a reference.

    Args:
        reference_perplexity: The reference's perplexity on the same tokens.
        perplexity_ratio: The model's perplexity over the reference's.
        mean_kl: KL(reference || model) in nats, the mean over the scored tokens.
        median_kl: Its median.
        p99_kl: Its 99th percentile.
        top1: Share of tokens before which both have the same most likely token.
    """

    reference_perplexity: float
    perplexity_ratio: float
    mean_kl: float
    median_kl: float
    p99_kl: float
    top1: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class TokenComparison:
    """What was measured at every scored token: [num_scored] each.

    Args:
        nll: The model's negative log-likelihood, in nats.
        reference_nll: The reference's.
        kl: KL(reference || model), in nats.
        agrees: 1 where both have the same most likely token, else 0.
    """

    nll: Floats
    reference_nll: Floats
    kl: Floats
    agrees: Floats

    @classmethod
    def join(cls, parts: Sequence[TokenComparison]) -> TokenComparison:
        """Return what was measured in several texts as one."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def summarize(self) -> Comparison:
        """Return the figures of all these tokens."""
        reference_nll = float(self.reference_nll.mean())
        median, p99 = np.percentile(self.kl, [50, 99])
        return Comparison(
            reference_perplexity=perplexity_of(reference_nll),
            perplexity_ratio=perplexity_of(float(self.nll.mean()) - reference_nll),
            mean_kl=float(self.kl.mean()),
            median_kl=float(median),
            p99_kl=float(p99),
            top1=float(self.agrees.mean()),
        )


def compare_tokens(
    model: Scorer, reference: Scorer, passages: Sequence[Passage], *, advance: Advance
) -> TokenComparison:
    """Score the same passages with both, a chunk at a time, so that no more than a chunk's logits are in memory.

    Raises:
        GenerationError: One of them failed to run, or gave something else than numbers.
    """
    parts = []
    for passage in passages:
        pairs = zip(model.chunks(passage), reference.chunks(passage), strict=True)
        for (token_ids, logits), (_, expected) in pairs:
            parts += [
                _compare(logits[rows], expected[rows], token_ids[rows]) for rows in row_blocks(*logits.shape)
            ]
            advance(len(token_ids))
    return TokenComparison.join(parts)


def check_same_vocabulary(model: Generator, reference: Generator, texts: Sequence[str]) -> None:
    """See that two models read these texts as the same tokens and choose among the same ones.

    Raises:
        OptionError: They do not, so that their distributions cannot be compared.
    """
    names = f"{model.folder.path} and {reference.folder.path}"
    if model.vocab_size != reference.vocab_size:
        raise OptionError(
            f"{names} have different vocabularies, of {model.vocab_size} and {reference.vocab_size} tokens: only "
            "models with the same one can be compared"
        )
    ours, theirs = (each.tokenizer.encode_batch(texts) for each in (model, reference))
    differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
    if differing:
        raise OptionError(
            f"{names} have different vocabularies: {differing} of {len(texts)} texts become other tokens; only models "
            "with the same one can be compared"
        )


def _compare(logits: Logits, expected: Logits, token_ids: Sequence[int]) -> TokenComparison:
    ours, theirs = log_softmax(logits), log_softmax(expected)
    with np.errstate(invalid="ignore"):  # a token that the reference forbids (-inf) adds nothing
        terms = np.where(np.isneginf(theirs), 0.0, np.exp(theirs) * (theirs - ours))
    return TokenComparison(
        nll=token_nlls(ours, token_ids),
        reference_nll=token_nlls(theirs, token_ids),
        kl=np.maximum(terms.sum(axis=-1), 0.0),  # below 0 by rounding alone
        agrees=(logits.argmax(axis=-1) == expected.argmax(axis=-1)).astype(np.float64),
    )
