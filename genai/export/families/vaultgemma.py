"""VaultGemma: Gemma 2 without the norms after attention and feed-forward."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.gemma import GEMMA_WEIGHTS
from genai.export.layouts.gemma2 import GEMMA2_DEFAULTS, gemma2_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    decoder = gemma2_decoder(config)
    layers = [replace(layer, mixer_output_norm=None, mlp_output_norm=None) for layer in decoder.layers]
    return replace(decoder, layers=tuple(layers))


FAMILY = Family(
    architectures=("VaultGemmaForCausalLM",),
    model_type="gemma2",  # onnxruntime-genai has no name for it
    spec=spec,
    weights=GEMMA_WEIGHTS,
    defaults=GEMMA2_DEFAULTS,
)
