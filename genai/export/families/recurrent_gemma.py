"""RecurrentGemma: real-gated linear recurrent units in two layers of three, attention to the last tokens in the third."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, Mixer, NormSpec, RgLruSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse_misread("embeddings_scale_by_sqrt_dim", "embeddings as they are", unless=(None, True))
    norm = NormSpec("rms", config.number("rms_norm_eps"), offset=1.0)
    mlp = llama_mlp(config, activation_key="hidden_activation")
    mlp = replace(mlp, intermediate_size=mlp.intermediate_size // 2, bias=True)
    by_type: dict[str, Mixer] = {"recurrent": _units(config), "attention": _attention(config)}
    layers = [LayerSpec(by_type[kind], mlp, input_norm=norm, mlp_norm=norm) for kind in _block_types(config)]
    decoder = decoder_of(config, layers, final_norm=norm)
    return replace(
        decoder,
        embedding_scale=_rounded_to_bfloat16(math.sqrt(decoder.hidden_size)),
        logit_softcap=config.positive("logits_soft_cap"),
    )


def _block_types(config: ModelConfig) -> list[str]:
    """Each layer's type: the config's list, over and over."""
    kinds, num_layers = config.strings("block_types"), config.integer("num_hidden_layers")
    unknown = sorted(set(kinds) - {"recurrent", "attention"})
    if unknown or not kinds:
        raise config.unsupported("block_types", f"asks for {', '.join(unknown) or 'nothing'}")
    return [kinds[index % len(kinds)] for index in range(num_layers)]


def _attention(config: ModelConfig) -> AttentionSpec:
    window = config.integer("attention_window_size")
    return replace(llama_attention(config), output_bias=True, window=window)


def _units(config: ModelConfig) -> RgLruSpec:
    width, num_blocks = (
        config.integer("lru_width", config.integer("hidden_size")),
        config.integer("num_attention_heads"),
    )
    if width % num_blocks:
        raise config.unsupported("lru_width", f"is {width}, which {num_blocks} blocks do not divide")
    activation = llama_mlp(config, activation_key="hidden_activation").activation
    return RgLruSpec(
        num_blocks=num_blocks,
        block_size=width // num_blocks,
        conv_width=config.integer("conv1d_width", minimum=2),
        activation=activation,
    )


def _rounded_to_bfloat16(value: float) -> float:
    """Return a number as transformers keeps this one: rounded to the 8 leading bits, half to even."""
    bits = int(np.asarray(value, np.float32).view(np.uint32))
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return float(np.asarray(rounded, np.uint32).view(np.float32))


_BLOCK = "layers.{i}.temporal_block"

_WEIGHTS: WeightMap = {
    "embedding": "embed_tokens",
    "input_norm": "layers.{i}.temporal_pre_norm",
    **{f"attention.{name}": f"{_BLOCK}.{name}_proj" for name in ("q", "k", "v")},
    "attention.output": f"{_BLOCK}.o_proj",
    "recurrent.x": f"{_BLOCK}.linear_x",
    "recurrent.gate": f"{_BLOCK}.linear_y",
    "recurrent.filter": f"{_BLOCK}.conv_1d",
    "recurrent.decay_rates": f"{_BLOCK}.rg_lru.recurrent_param",
    "recurrent.input_gates": f"{_BLOCK}.rg_lru.input_gate_weight",
    "recurrent.input_gates_bias": f"{_BLOCK}.rg_lru.input_gate_bias",
    "recurrent.recurrent_gates": f"{_BLOCK}.rg_lru.recurrent_gate_weight",
    "recurrent.recurrent_gates_bias": f"{_BLOCK}.rg_lru.recurrent_gate_bias",
    "recurrent.output": f"{_BLOCK}.linear_out",
    "mlp_norm": "layers.{i}.channel_pre_norm",
    **{f"mlp.{name}": f"layers.{{i}}.mlp_block.{name}_proj" for name in ("gate", "up", "down")},
    "final_norm": "final_norm",
    "head": "lm_head",
}


FAMILY = Family(
    architectures=("RecurrentGemmaForCausalLM",),
    model_type="qwen3_5_text",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights=_WEIGHTS,
    defaults={
        "attention_bias": False,
        "attention_window_size": 2048,
        "block_types": ["recurrent", "recurrent", "attention"],
        "conv1d_width": 4,
        "hidden_activation": "gelu_pytorch_tanh",
        "logits_soft_cap": 30.0,
        "max_position_embeddings": 8192,  # what it was trained with; no config says how long sequences may be
        "num_attention_heads": 10,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    },
)
