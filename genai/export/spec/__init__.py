"""What a decoder is, as frozen values: the only thing that a family says to the builder besides weight names.

A spec holds numbers and choices that are already checked; it knows neither config.json nor ONNX. What mixes tokens in
a layer (its mixer) and what transforms them one by one (its feed-forward block) are unions: a new kind is a spec here,
a function in `genai.export.ops`, and a case where the two are joined.
"""

from __future__ import annotations

from genai.export.spec.altup import AltUpSpec, LaurelSpec
from genai.export.spec.attention import AlibiSpec, AttentionSpec, QueryScaling
from genai.export.spec.decoder import DecoderSpec
from genai.export.spec.dense_and_experts import DenseAndExpertsSpec
from genai.export.spec.feed_forward import ACTIVATIONS, Activation, MlpSpec
from genai.export.spec.gated_delta import GatedDeltaSpec
from genai.export.spec.latent_attention import LatentAttentionSpec
from genai.export.spec.layer import FeedForward, LayerSpec, Mixer
from genai.export.spec.moe import ClampedGate, MoeSpec, RouterSpec
from genai.export.spec.norm import NormSpec
from genai.export.spec.parameters import Shapes
from genai.export.spec.per_layer_input import PerLayerInputSpec
from genai.export.spec.short_convolution import ShortConvolutionSpec
from genai.export.spec.state import StateSpec

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "AlibiSpec",
    "AltUpSpec",
    "AttentionSpec",
    "ClampedGate",
    "DecoderSpec",
    "DenseAndExpertsSpec",
    "FeedForward",
    "GatedDeltaSpec",
    "LatentAttentionSpec",
    "LaurelSpec",
    "LayerSpec",
    "Mixer",
    "MlpSpec",
    "MoeSpec",
    "NormSpec",
    "PerLayerInputSpec",
    "QueryScaling",
    "RouterSpec",
    "Shapes",
    "ShortConvolutionSpec",
    "StateSpec",
]
