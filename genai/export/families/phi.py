"""Phi 1, 1.5 and 2: attention and feed-forward in parallel, layer norms and biases everywhere, partial rotary."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.gpt import gpt_mlp
from genai.export.layouts.llama import decoder_of, llama_attention

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("layer", config.number("layer_norm_eps"), bias=True)
    layer = LayerSpec(
        mixer=replace(
            llama_attention(config),
            qkv_bias=True,
            output_bias=True,
            qk_norm=norm if config.flag("qk_layernorm") else None,
        ),
        mlp=gpt_mlp(config),
        input_norm=norm,
        parallel=True,
    )
    layers = [layer] * config.integer("num_hidden_layers")
    return replace(decoder_of(config, layers, final_norm=norm), head_bias=True)


FAMILY = Family(
    architectures=("PhiForCausalLM",),
    model_type="phi",
    spec=spec,
    weights={
        "embedding": "embed_tokens",
        "input_norm": "layers.{i}.input_layernorm",
        "attention.q": "layers.{i}.self_attn.q_proj",
        "attention.k": "layers.{i}.self_attn.k_proj",
        "attention.v": "layers.{i}.self_attn.v_proj",
        "attention.q_norm": "layers.{i}.self_attn.q_layernorm",
        "attention.k_norm": "layers.{i}.self_attn.k_layernorm",
        "attention.output": "layers.{i}.self_attn.dense",
        "mlp.up": "layers.{i}.mlp.fc1",
        "mlp.down": "layers.{i}.mlp.fc2",
        "final_norm": "final_layernorm",
        "head": "lm_head",
    },
    defaults={
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-5,
        "partial_rotary_factor": 0.5,
        "qk_layernorm": False,
        "tie_word_embeddings": False,
    },
)
