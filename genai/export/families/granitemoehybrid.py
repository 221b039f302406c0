"""Granite 4's dense models of attention layers alone: Granite, with or without positions.

The others of the same architecture, with Mamba layers or experts, are refused.
"""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.granite import GRANITE_DEFAULTS, granite_attention, with_granite_factors
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_mlp

__all__ = ["FAMILY"]

ATTENTION_TYPES = {"attention", "full_attention"}


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    num_layers = config.integer("num_hidden_layers")
    types = config.strings("layer_types") if "layer_types" in config else ("linear_attention",)
    others = sorted(set(types) - ATTENTION_TYPES)
    if others:
        raise config.unsupported("layer_types", f'asks for "{others[0]}" layers, which cannot be exported')
    attention = granite_attention(config)
    if config.string("position_embedding_type", "nope") != "rope":
        attention = replace(attention, rope=None)
    norm = NormSpec("rms", config.number("rms_norm_eps", 1e-6))
    mlp = replace(llama_mlp(config), intermediate_size=config.integer("shared_intermediate_size"), bias=False)
    layer = LayerSpec(attention, mlp, input_norm=norm, mlp_norm=norm)
    return with_granite_factors(config, decoder_of(config, [layer] * num_layers, final_norm=norm))


FAMILY = Family(
    architectures=("GraniteMoeHybridForCausalLM",),
    model_type="granite",  # onnxruntime-genai's own name for it wants the states of Mamba layers
    spec=spec,
    weights={
        **{module: name for module, name in LLAMA_WEIGHTS.items() if "mlp." not in module},
        ("mlp.gate", "mlp.up"): "layers.{i}.shared_mlp.input_linear",
        "mlp.down": "layers.{i}.shared_mlp.output_linear",
    },
    defaults={**GRANITE_DEFAULTS, "num_local_experts": 8, "shared_intermediate_size": 1024},
)
