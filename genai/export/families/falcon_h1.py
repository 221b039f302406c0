"""Falcon-H1: attention and Mamba-2 side by side in every layer, with a factor on nearly everything (muP)."""

from __future__ import annotations

from dataclasses import replace

from genai.errors import CheckpointError
from genai.export.architecture import BesideSpec, DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import decoder_of, llama_attention, llama_mlp
from genai.export.layouts.mamba2 import FEED_FORWARD_WEIGHTS, MAMBA2_DEFAULTS, mamba2_mixer, mamba2_weights

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    attention, mlp = llama_attention(config), llama_mlp(config)
    gate_scale, output_scale = _factors(config, "mlp_multipliers", 2)
    layer = LayerSpec(
        # keys are cached without their factor, which the scores have instead
        replace(attention, scale=config.number("key_multiplier") * attention.head_dim**-0.5),
        replace(mlp, gate_scale=gate_scale, output_scale=output_scale),
        input_norm=norm,
        mlp_norm=norm,
        beside=_beside(config, norm),
    )
    decoder = decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)
    return replace(
        decoder,
        embedding_scale=config.number("embedding_multiplier"),
        logit_scale=config.number("lm_head_multiplier"),
    )


def _beside(config: ModelConfig, norm: NormSpec) -> BesideSpec:
    if config.flag("projectors_bias") != config.flag("mamba_proj_bias"):
        raise config.unsupported("projectors_bias", "gives only one of a Mamba layer's projections a bias")
    config.refuse("mamba_proj_bias", "biases between factors cannot be exported")
    input_scale = config.number("ssm_in_multiplier")
    gate, x, b, c, step = (input_scale * factor for factor in _factors(config, "ssm_multipliers", 5))
    mamba = replace(
        mamba2_mixer(config),
        norm=norm if config.flag("mamba_rms_norm") else None,
        norms_first=config.flag("mamba_norm_before_gate"),
        factors=(gate, x, b, c, step),
    )
    return BesideSpec(
        mamba,
        output_scale=config.number("ssm_out_multiplier"),
        mixer_input_scale=config.number("attention_in_multiplier"),
        mixer_output_scale=config.number("attention_out_multiplier"),
    )


def _factors(config: ModelConfig, key: str, count: int) -> tuple[float, ...]:
    if key not in config:
        return (1.0,) * count
    factors = config.numbers(key)
    if len(factors) != count:
        raise CheckpointError(f'config.json: "{key}" must be {count} numbers, not {len(factors)}')
    return factors


FAMILY = Family(
    architectures=("FalconH1ForCausalLM",),
    model_type="granitemoehybrid",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights={
        **FEED_FORWARD_WEIGHTS,
        **mamba2_weights("layers.{i}.mamba"),
    },
    defaults={
        **MAMBA2_DEFAULTS,
        "attention_in_multiplier": 1.0,
        "attention_out_multiplier": 1.0,
        "embedding_multiplier": 1.0,
        "key_multiplier": 1.0,
        "lm_head_multiplier": 1.0,
        "mamba_d_ssm": 1024,
        "mamba_norm_before_gate": True,
        "mamba_rms_norm": False,
        "max_position_embeddings": 8192,
        "num_key_value_heads": 8,
        "projectors_bias": False,
        "rms_norm_eps": 1e-5,
        "ssm_in_multiplier": 1.0,
        "ssm_out_multiplier": 1.0,
    },
)
