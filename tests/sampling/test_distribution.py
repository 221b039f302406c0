"""Frequencies against the exact distribution, computed here in float64 from the options' definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genai.config import GenerationConfig
from genai.sampling import Sampler

VOCAB = 30
NUM_DRAWS = 20_000
LOGITS = (np.random.default_rng(5).standard_normal(VOCAB) * 2).astype(np.float32)


def exact(*, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, typical_p=1.0):
    """Return the probabilities, one option after the other, by sorting and adding up."""
    p = np.exp(LOGITS.astype(np.float64) / temperature)
    p /= p.sum()
    if top_k:
        p[np.argsort(-p)[top_k:]] = 0
        p /= p.sum()
    if top_p < 1:
        order = np.argsort(-p)
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= top_p]] = 0
        p /= p.sum()
    p[p < min_p * p.max()] = 0
    p /= p.sum()
    if typical_p < 1:
        information = -np.log(np.where(p > 0, p, 1))
        distance = np.where(p > 0, np.abs(information - (p * information).sum()), np.inf)
        order = np.argsort(distance)
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= typical_p]] = 0
        p /= p.sum()
    return p


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.7},
        {"temperature": 3.0},
        {"top_k": 5},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"typical_p": 0.6},
        {"temperature": 1.5, "top_k": 10, "top_p": 0.9},
        {"temperature": 0.8, "top_k": 20, "top_p": 0.95, "min_p": 0.05},
        {"temperature": 2.0, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.8},
    ],
    ids=str,
)
def test_chi_square(options):
    config = GenerationConfig(do_sample=True, **{"top_k": 0, **options})
    sampler = Sampler(config, vocab_size=VOCAB, prompt_token_ids=[], eos_token_ids=[], seed=11)
    counts = np.zeros(VOCAB)
    for _ in range(NUM_DRAWS):
        token_id = sampler.sample(LOGITS).token_id
        counts[token_id] += 1
        sampler.accept(token_id)
    expected = exact(**options) * NUM_DRAWS
    assert counts[expected == 0].sum() == 0
    # Tokens expected less than ten times share one cell.
    rare = (expected > 0) & (expected < 10)
    cells = (expected >= 10, rare)
    observed = [*counts[cells[0]], counts[cells[1]].sum()]
    awaited = [*expected[cells[0]], expected[cells[1]].sum()]
    if awaited[-1] == 0:
        observed, awaited = observed[:-1], awaited[:-1]
    assert stats.chisquare(observed, awaited).pvalue > 0.001
