"""From logits to tokens: processors (the specification) and the sampler of a sequence.

Knows options and token ids; knows no model, tokenizer, session or device.
"""

from __future__ import annotations

from genai.sampling.history import LogitsProcessor
from genai.sampling.processors import log_softmax
from genai.sampling.reasoning_limit import ReasoningLimit
from genai.sampling.sampler import GREEDY_TEMPERATURE, Sample, Sampler

__all__ = ["GREEDY_TEMPERATURE", "LogitsProcessor", "ReasoningLimit", "Sample", "Sampler", "log_softmax"]
