"""Youtu-LLM: DeepSeek's latent attention with dense feed-forward blocks."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.deepseek import deepseek_weights, latent_attention_of
from genai.export.layouts.llama import pre_norm_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    attentions = [latent_attention_of(config)] * config.integer("num_hidden_layers")
    return pre_norm_decoder(config.without("mlp_bias"), attentions)


FAMILY = Family(
    architectures=("YoutuForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=deepseek_weights,
    defaults={
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "v_head_dim": 128,
    },
)
