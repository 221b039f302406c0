"""Arcee's AFM: llama with a feed-forward block of squared rectifiers instead of a gate."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    decoder = llama_decoder(config, llama_attention(config))
    mlp = replace(llama_mlp(config), gated=False)
    return replace(decoder, layers=tuple(replace(layer, mlp=mlp) for layer in decoder.layers))


FAMILY = Family(
    architectures=("ArceeForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={module: name for module, name in LLAMA_WEIGHTS.items() if module != "mlp.gate"},
    defaults={"hidden_act": "relu2", "rms_norm_eps": 1e-5},
)
