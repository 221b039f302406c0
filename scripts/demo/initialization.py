"""Where training starts: embeddings that already tell which questions a token occurs in.

Training from random embeddings spends most of its time on finding out which words belong together. Latent semantic
analysis of the same training questions (Deerwester et al., 1990) gives that at once.
"""

import random

import torch

from .conversations import ConversationMaker

QUESTIONS_PER_INTENT = 400


def semantic_embeddings(
    maker: ConversationMaker, rng: random.Random, *, vocab_size: int, hidden_size: int, std: float
) -> torch.Tensor:
    """Return embeddings, float32 [vocab, hidden]: the leading directions of tokens by intents, and noise.

    Both parts have the standard deviation `std` over all entries.
    """
    counts = torch.zeros(vocab_size, maker.num_intents)
    for index in range(maker.num_intents):
        for _ in range(QUESTIONS_PER_INTENT):
            counts[list(set(maker.question_ids(index, rng))), index] += 1
    informative = _pointwise_mutual_information(counts)
    left, strengths, _ = torch.linalg.svd(informative, full_matrices=False)
    rank = min(len(strengths), hidden_size // 2)
    semantic = left[:, :rank] * strengths[:rank].sqrt()
    noise = torch.randn(vocab_size, hidden_size - rank)
    return torch.cat([semantic / semantic.std(), noise], dim=1) * std


def _pointwise_mutual_information(counts: torch.Tensor) -> torch.Tensor:
    """Return max(0, log(p(token, intent) / p(token) p(intent))), smoothed against rare tokens."""
    smoothed = counts + 0.5
    joint = smoothed / smoothed.sum()
    information = (joint / (joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))).log().clamp(min=0)
    return information * (counts.sum(1, keepdim=True) / (counts.sum(1, keepdim=True) + 20))
