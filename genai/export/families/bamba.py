"""Bamba: Mamba-2 in most layers, attention with positions on half of each head in the others."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import decoder_of, head_dim_of, llama_attention, llama_mlp
from genai.export.layouts.mamba2 import FEED_FORWARD_WEIGHTS, MAMBA2_DEFAULTS, mamba2_mixer, mamba2_weights

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    with_attention = set(config.integers("attn_layer_indices")) if "attn_layer_indices" in config else ()
    half = config.filled(partial_rotary_factor=0.5)  # whatever the config says
    attention = llama_attention(config, rope=read_rope(half, head_dim=head_dim_of(config)))
    mamba, mlp = mamba2_mixer(config), llama_mlp(config)
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    layers = [
        LayerSpec(attention if index in with_attention else mamba, mlp, input_norm=norm, mlp_norm=norm)
        for index in range(config.integer("num_hidden_layers"))
    ]
    return decoder_of(config, layers, final_norm=norm)


FAMILY = Family(
    architectures=("BambaForCausalLM",),
    model_type="granitemoehybrid",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights={
        **FEED_FORWARD_WEIGHTS,
        **mamba2_weights("layers.{i}.mamba"),
    },
    defaults={**MAMBA2_DEFAULTS, "num_key_value_heads": 8, "rms_norm_eps": 1e-5},
)
