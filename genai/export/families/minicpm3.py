"""MiniCPM 3: MiniCPM with DeepSeek's latent attention, whose rotary embedding rotates halves instead of neighbours."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.deepseek import deepseek_weights, latent_attention_of
from genai.export.layouts.llama import pre_norm_decoder
from genai.export.layouts.minicpm import with_minicpm_factors

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    width = config.integer("hidden_size") // config.integer("num_attention_heads")
    latent = config.without("rope_interleave").filled(rope_interleave=False, v_head_dim=width)
    attentions = [latent_attention_of(latent)] * config.integer("num_hidden_layers")
    return with_minicpm_factors(config, pre_norm_decoder(config, attentions))


FAMILY = Family(
    architectures=("MiniCPM3ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=deepseek_weights,
    defaults={
        "dim_model_base": 256,
        "kv_lora_rank": 256,
        "q_lora_rank": 768,
        "qk_nope_head_dim": 64,
        "qk_rope_head_dim": 32,
        "rms_norm_eps": 1e-5,
        "scale_depth": 1.4,
        "scale_emb": 12,
        "tie_word_embeddings": True,
    },
)
