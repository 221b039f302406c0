"""From logits to tokens: processors (the specification), the sampler of a sequence, and the sampler as an ONNX graph.

Knows options and token ids; knows no model, tokenizer, session or device.
"""

from __future__ import annotations

from genai.sampling.graph import build_sampler_graph
from genai.sampling.processors import log_softmax
from genai.sampling.sampler import GREEDY_TEMPERATURE, Sample, Sampler

__all__ = ["GREEDY_TEMPERATURE", "Sample", "Sampler", "build_sampler_graph", "log_softmax"]
