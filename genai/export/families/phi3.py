"""Phi 3, 3.5 and 4, mini and medium: fused projections, partial rotary embeddings, longrope."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import head_dim_of, llama_attention, llama_decoder

__all__ = ["FAMILY"]

OLD_ROPE_TYPES = {"su": "longrope", "yarn": "longrope"}


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    rope = read_rope(config, head_dim=head_dim_of(config), aliases=OLD_ROPE_TYPES)
    windows = [config.optional_integer("sliding_window")] * config.integer("num_hidden_layers")
    return llama_decoder(config, llama_attention(config, rope=rope), windows=windows)


FAMILY = Family(
    architectures=("Phi3ForCausalLM",),
    model_type="phi3",
    spec=spec,
    weights={
        "embedding": "embed_tokens",
        "input_norm": "layers.{i}.input_layernorm",
        ("attention.q", "attention.k", "attention.v"): "layers.{i}.self_attn.qkv_proj",
        "attention.output": "layers.{i}.self_attn.o_proj",
        "mlp_norm": "layers.{i}.post_attention_layernorm",
        ("mlp.gate", "mlp.up"): "layers.{i}.mlp.gate_up_proj",
        "mlp.down": "layers.{i}.mlp.down_proj",
        "final_norm": "norm",
        "head": "lm_head",
    },
    defaults={"original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
)
