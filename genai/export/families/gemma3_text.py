"""Gemma 3's decoder, alone or within the multimodal model: normalized queries and keys, two rotary bases."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.gemma import GEMMA_WEIGHTS, gemma_attention, gemma_decoder, gemma_norm
from genai.export.layouts.llama import sliding_windows

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse("attn_logit_softcapping", "gemma 3 has no soft cap on scores")
    head_dim, pattern = config.integer("head_dim"), config.integer("sliding_window_pattern")
    base = replace(gemma_attention(config), qk_norm=gemma_norm(config))
    full = replace(base, rope=read_rope(config, head_dim=head_dim, layer_type="full_attention"))
    local_rope = read_rope(
        config, head_dim=head_dim, layer_type="sliding_attention", theta_key="rope_local_base_freq"
    )
    local = replace(base, rope=local_rope)
    windows = sliding_windows(config, is_sliding=lambda index: (index + 1) % pattern != 0)
    return gemma_decoder(
        config, [full if window is None else replace(local, window=window) for window in windows]
    )


FAMILY = Family(
    architectures=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    model_type="gemma3_text",
    spec=spec,
    weights=GEMMA_WEIGHTS,
    defaults={
        "attention_bias": False,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 131072,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-6,
        "rope_local_base_freq": 10000.0,
        "rope_theta": 1000000.0,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "tie_word_embeddings": True,
        "vocab_size": 262208,
    },
    prefixes=("model.", "model.language_model.", "language_model.model.", ""),
    ignored=(r"(^|\.)vision_tower\.", r"(^|\.)multi_modal_projector\."),
    outer_tied=True,
)
