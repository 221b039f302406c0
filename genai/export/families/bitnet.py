"""BitNet b1.58 (https://arxiv.org/abs/2504.12285): llama with norms before the projections out of both blocks.

Its matrices hold three values each; `genai.export.checkpoint.quantized.bitnet` reads them.
"""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    layer = LayerSpec(
        replace(llama_attention(config), output_norm=norm),
        replace(llama_mlp(config), bias=False, down_norm=norm),
        input_norm=norm,
        mlp_norm=norm,
    )
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("BitNetForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        **LLAMA_WEIGHTS,
        "attention.output_norm": "layers.{i}.self_attn.attn_sub_norm",
        "mlp.down_norm": "layers.{i}.mlp.ffn_sub_norm",
    },
    defaults={
        "hidden_act": "relu2",
        "num_key_value_heads": 5,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
    },
)
