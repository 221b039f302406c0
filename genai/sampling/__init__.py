"""From logits to tokens: processors (the specification) and the sampler of a sequence.

Knows options and token ids; knows no model, tokenizer, session or device.
"""

from __future__ import annotations

from genai.sampling.history import Constraint, LogitsProcessor
from genai.sampling.logprobs import log_sum_exp
from genai.sampling.processors import log_softmax
from genai.sampling.sampler import GREEDY_TEMPERATURE, Sample, Sampler

__all__ = [
    "GREEDY_TEMPERATURE",
    "Constraint",
    "LogitsProcessor",
    "Sample",
    "Sampler",
    "log_softmax",
    "log_sum_exp",
]
