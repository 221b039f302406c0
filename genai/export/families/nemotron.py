"""Nemotron 3 and 4, and Minitron: layer norms with stored weight - 1, squared rectifiers, partial rotary."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("layer", config.number("norm_eps"), offset=1.0, bias=True)
    mlp = replace(llama_mlp(config), gated=False)
    layer = LayerSpec(llama_attention(config), mlp, input_norm=norm, mlp_norm=norm)
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("NemotronForCausalLM",),
    model_type="nemotron",
    spec=spec,
    weights={module: name for module, name in LLAMA_WEIGHTS.items() if module != "mlp.gate"},
    defaults={"hidden_act": "relu2", "norm_eps": 1e-5, "partial_rotary_factor": 0.5},
)
