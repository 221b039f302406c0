"""From logits to tokens: processors (the specification) and the sampler of a sequence.

Knows options and token ids; knows no model, tokenizer, session or device.
"""

from __future__ import annotations

from genai.sampling.history import Constraint, LogitsProcessor
from genai.sampling.history.reasoning_limit import ReasoningLimit
from genai.sampling.logprobs import check_finite, token_logprob
from genai.sampling.processors import guide, log_softmax
from genai.sampling.sampler import Sample, Sampler

__all__ = [
    "Constraint",
    "LogitsProcessor",
    "ReasoningLimit",
    "Sample",
    "Sampler",
    "check_finite",
    "guide",
    "log_softmax",
    "token_logprob",
]
