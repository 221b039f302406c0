"""GPT-2: learned positions, layer norms, fused projections stored as [inputs, outputs]."""

from __future__ import annotations

from genai.export.architecture import AttentionSpec, DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Transposed
from genai.export.layouts.gpt import GPT_ALIASES, gpt2_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return gpt2_decoder(config, [_attention(config, index) for index in range(config.integer("n_layer"))])


def _attention(config: ModelConfig, index: int) -> AttentionSpec:
    num_heads = config.integer("n_head")
    head_dim = config.integer("n_embd") // num_heads
    scale = head_dim**-0.5 if config.flag("scale_attn_weights") else 1.0
    if config.flag("scale_attn_by_inverse_layer_idx"):
        scale /= index + 1
    return AttentionSpec(num_heads, num_heads, head_dim, scale=scale, qkv_bias=True, output_bias=True)


FAMILY = Family(
    architectures=("GPT2LMHeadModel",),
    model_type="decoder",  # onnxruntime-genai's "gpt2" wants another cache layout
    spec=spec,
    weights={
        "embedding": "wte",
        "position_embedding": "wpe",
        "input_norm": "h.{i}.ln_1",
        ("attention.q", "attention.k", "attention.v"): Transposed("h.{i}.attn.c_attn"),
        "attention.output": Transposed("h.{i}.attn.c_proj"),
        "mlp_norm": "h.{i}.ln_2",
        "mlp.up": Transposed("h.{i}.mlp.c_fc"),
        "mlp.down": Transposed("h.{i}.mlp.c_proj"),
        "final_norm": "ln_f",
        "head": "lm_head",
    },
    defaults={
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
    },
    aliases=GPT_ALIASES,
    prefixes=("transformer.", ""),
)
