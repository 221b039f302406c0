"""Hunyuan v1 dense: queries and keys are normalized after the rotary embedding, whose base may be stretched."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.hunyuan import HUNYUAN_NORMS, hunyuan_attention, with_stretched_base
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config = with_stretched_base(config)
    return llama_decoder(config, hunyuan_attention(config))


FAMILY = Family(
    architectures=("HunYuanDenseV1ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={**LLAMA_WEIGHTS, **HUNYUAN_NORMS},
    defaults={"rms_norm_eps": 1e-5, "tie_word_embeddings": False},
)
