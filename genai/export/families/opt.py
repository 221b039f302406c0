"""OPT: learned positions from row 2 on, layer norms, biases everywhere."""

from __future__ import annotations

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.gpt import gpt_mlp
from genai.export.layouts.llama import refuse_foreign_parts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_foreign_parts(config)
    hidden_size, num_heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    config.refuse("do_layer_norm_before", "norms after the residual addition", unless=(True,))
    config.refuse("_remove_final_layer_norm", "a decoder without a norm before the head")
    config.refuse("word_embed_proj_dim", "embeddings of another width", unless=(None, hidden_size))
    bias, affine = config.flag("enable_bias"), config.flag("layer_norm_elementwise_affine")
    norm = NormSpec("layer", 1e-5, bias=affine, weight=affine)
    head_dim = hidden_size // num_heads
    layer = LayerSpec(
        AttentionSpec(num_heads, num_heads, head_dim, qkv_bias=bias, output_bias=bias),
        gpt_mlp(config, size_key="ffn_dim", activation_key="activation_function", bias=bias),
        input_norm=norm,
        mlp_norm=norm,
    )
    max_positions = config.integer("max_position_embeddings")
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=max_positions,
        layers=(layer,) * config.integer("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings"),
        learned_positions=max_positions,
        position_offset=2,
    )


FAMILY = Family(
    architectures=("OPTForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        "embedding": "embed_tokens",
        "position_embedding": "embed_positions",
        "input_norm": "layers.{i}.self_attn_layer_norm",
        "attention.q": "layers.{i}.self_attn.q_proj",
        "attention.k": "layers.{i}.self_attn.k_proj",
        "attention.v": "layers.{i}.self_attn.v_proj",
        "attention.output": "layers.{i}.self_attn.out_proj",
        "mlp_norm": "layers.{i}.final_layer_norm",
        "mlp.up": "layers.{i}.fc1",
        "mlp.down": "layers.{i}.fc2",
        "final_norm": "final_layer_norm",
        "head": "lm_head",
    },
    defaults={
        "activation_function": "relu",
        "do_layer_norm_before": True,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "tie_word_embeddings": True,
    },
    prefixes=("model.decoder.", "decoder.", ""),
)
