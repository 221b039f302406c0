"""What a decoder is, as frozen values: the only thing that a family says to the builder besides weight names.

A spec holds numbers and choices that are already checked; it knows neither config.json nor ONNX. What mixes tokens in
a layer (its mixer) and what transforms them one by one (its feed-forward block) are unions: a new kind is a spec here,
a function in `genai.export.ops`, and a case where the two are joined.
"""

from __future__ import annotations

from genai.export.spec.attention import AttentionSpec, QueryScaling
from genai.export.spec.decoder import DecoderSpec
from genai.export.spec.feed_forward import ACTIVATIONS, Activation, FeedForward, MlpSpec
from genai.export.spec.layer import LayerSpec, Mixer
from genai.export.spec.norm import NormSpec
from genai.export.spec.parameters import Shapes
from genai.export.spec.state import StateSpec

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "AttentionSpec",
    "DecoderSpec",
    "FeedForward",
    "LayerSpec",
    "Mixer",
    "MlpSpec",
    "NormSpec",
    "QueryScaling",
    "Shapes",
    "StateSpec",
]
