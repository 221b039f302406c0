"""GPT-2: learned positions, layer norms, fused projections stored as [inputs, outputs]."""

from __future__ import annotations

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Transposed
from genai.export.layouts.gpt import gpt_mlp
from genai.export.layouts.llama import refuse_foreign_parts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_foreign_parts(config)
    hidden_size, num_heads = config.integer("n_embd"), config.integer("n_head")
    norm = NormSpec("layer", config.number("layer_norm_epsilon"), bias=True)
    mlp = gpt_mlp(
        config, size_key="n_inner", default_size=4 * hidden_size, activation_key="activation_function"
    )
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=config.integer("n_positions"),
        layers=tuple(
            LayerSpec(
                _attention(config, index, num_heads, hidden_size // num_heads), mlp, norm, mlp_norm=norm
            )
            for index in range(config.integer("n_layer"))
        ),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings"),
        learned_positions=config.integer("n_positions"),
    )


def _attention(config: ModelConfig, index: int, num_heads: int, head_dim: int) -> AttentionSpec:
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
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    prefixes=("transformer.", ""),
)
