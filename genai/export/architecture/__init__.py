"""What a decoder is, as frozen values: the only thing that a family says to the builder besides weight names.

A spec holds numbers and choices that are already checked; it knows neither config.json nor ONNX. What mixes tokens in
a layer (its mixer) and what transforms them one by one (its feed-forward block) are unions: a new kind is a spec here,
a function in `genai.export.build`, and a case where the two are joined.
"""

from __future__ import annotations

from genai.export.architecture.altup import AltUpSpec, LaurelSpec
from genai.export.architecture.attention import AlibiSpec, AttentionSpec, QueryScaling
from genai.export.architecture.decoder import DecoderSpec
from genai.export.architecture.dense_and_experts import DenseAndExpertsSpec
from genai.export.architecture.feed_forward import ACTIVATIONS, Activation, MlpSpec
from genai.export.architecture.gated_delta import GatedDeltaSpec
from genai.export.architecture.latent_attention import LatentAttentionSpec
from genai.export.architecture.layer import BesideSpec, FeedForward, LayerSpec, Mixer, NormedStreamSpec
from genai.export.architecture.lightning_attention import LightningAttentionSpec
from genai.export.architecture.mamba import MambaSpec
from genai.export.architecture.mamba2 import Mamba2Spec
from genai.export.architecture.moe import ClampedGate, MoeSpec, RouterSpec
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes
from genai.export.architecture.per_layer_input import PerLayerInputSpec
from genai.export.architecture.rg_lru import RgLruSpec
from genai.export.architecture.rwkv import ChannelMixSpec, TimeMixSpec
from genai.export.architecture.shared_block import SharedBlockSpec
from genai.export.architecture.short_convolution import ShortConvolutionSpec
from genai.export.architecture.state import StateSpec

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "AlibiSpec",
    "AltUpSpec",
    "AttentionSpec",
    "BesideSpec",
    "ChannelMixSpec",
    "ClampedGate",
    "DecoderSpec",
    "DenseAndExpertsSpec",
    "FeedForward",
    "GatedDeltaSpec",
    "LatentAttentionSpec",
    "LaurelSpec",
    "LayerSpec",
    "LightningAttentionSpec",
    "Mamba2Spec",
    "MambaSpec",
    "Mixer",
    "MlpSpec",
    "MoeSpec",
    "NormSpec",
    "NormedStreamSpec",
    "PerLayerInputSpec",
    "QueryScaling",
    "RgLruSpec",
    "RouterSpec",
    "Shapes",
    "SharedBlockSpec",
    "ShortConvolutionSpec",
    "StateSpec",
    "TimeMixSpec",
]
