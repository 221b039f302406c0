"""StableLM 2 and 3B: layer norms, partial rotary; in the 12B also parallel blocks and a norm for every single head."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Named
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    eps = config.number("layer_norm_eps")
    norm = NormSpec("layer", eps, bias=True)
    attention = replace(
        llama_attention(config),
        qkv_bias=config.flag("use_qkv_bias"),
        output_bias=False,
        qk_norm=NormSpec("layer", eps) if config.flag("qk_layernorm") else None,
        qk_norm_over="heads",
    )
    parallel = config.flag("use_parallel_residual")
    mlp = replace(llama_mlp(config), bias=False)
    layer = LayerSpec(attention, mlp, input_norm=norm, mlp_norm=None if parallel else norm, parallel=parallel)
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("StableLmForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        **LLAMA_WEIGHTS,
        "attention.q_norm": Named("layers.{i}.self_attn.q_layernorm.norms.{e}.weight"),
        "attention.k_norm": Named("layers.{i}.self_attn.k_layernorm.norms.{e}.weight"),
    },
    defaults={
        "layer_norm_eps": 1e-5,
        "num_key_value_heads": 32,
        "partial_rotary_factor": 0.25,
        "qk_layernorm": False,
        "use_parallel_residual": False,
        "use_qkv_bias": False,
    },
)
