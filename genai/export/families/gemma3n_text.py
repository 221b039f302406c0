"""Gemma 3n's decoder, alone or within the multimodal model: alternating updates, learned residuals, sparse gates."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import AltUpSpec, DecoderSpec, LaurelSpec, MlpSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Named, WeightMap
from genai.export.layouts.gemma4 import (
    GEMMA4_DEFAULTS,
    GEMMA4_IGNORED,
    GEMMA4_WEIGHTS,
    gemma4_activation,
    gemma4_attention,
    gemma4_decoder,
    gemma4_layer,
    gemma4_norm,
    gemma4_types,
    source_layers,
)

__all__ = ["FAMILY"]

THETA_KEYS = {"full_attention": "rope_theta", "sliding_attention": "rope_local_base_freq"}
NUM_SPARSE_LAYERS, SPARSITY = 10, 0.95  # of a deeper decoder whose config does not say


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    types, head_dim = gemma4_types(config, period=5), config.integer("head_dim")
    ropes = {
        kind: read_rope(config, head_dim=head_dim, layer_type=kind, theta_key=key)
        for kind, key in THETA_KEYS.items()
    }
    laurel = LaurelSpec(config.integer("laurel_rank"), gemma4_norm(config))
    layers = []
    for kind, source, mlp in zip(types, source_layers(config, types), _mlps(config), strict=True):
        attention = gemma4_attention(config, kind, rope=ropes[kind], source=source)
        layers.append(replace(gemma4_layer(config, attention, mlp), laurel=laurel))
    return replace(gemma4_decoder(config, layers), altup=_altup(config))


def _mlps(config: ModelConfig) -> list[MlpSpec]:
    """Each layer's block: widths and sparsities may be lists."""
    count, activation = config.integer("num_hidden_layers"), gemma4_activation(config)
    sizes = config.numbers_of_layers("intermediate_size", count)
    num_sparse = NUM_SPARSE_LAYERS if count > NUM_SPARSE_LAYERS else 0
    sparsities = (SPARSITY,) * num_sparse + (0.0,) * (count - num_sparse)
    if "activation_sparsity_pattern" in config:
        sparsities = config.numbers_of_layers("activation_sparsity_pattern", count)
    return [
        MlpSpec(int(size), activation, sparsity=sparsity)
        for size, sparsity in zip(sizes, sparsities, strict=True)
    ]


def _altup(config: ModelConfig) -> AltUpSpec:
    return AltUpSpec(
        num_streams=config.integer("altup_num_inputs"),
        active=config.integer("altup_active_idx", minimum=0),
        scales_input=config.flag("altup_correct_scale"),
        norm=gemma4_norm(config),
    )


def weights(config: ModelConfig) -> WeightMap:
    """Return the names of the parameters."""
    streams = range(1, config.integer("altup_num_inputs"))
    return {
        **GEMMA4_WEIGHTS,
        **{f"altup.embed.{stream}": f"altup_projections.{stream - 1}" for stream in streams},
        **{f"altup.unembed.{stream}": f"altup_unembed_projections.{stream - 1}" for stream in streams},
        "altup.router": "layers.{i}.altup.modality_router",
        "altup.router_norm": "layers.{i}.altup.router_norm",
        "altup.predictions": "layers.{i}.altup.prediction_coefs",
        "altup.corrections": "layers.{i}.altup.correction_coefs",
        "altup.input_scale": Named("layers.{i}.altup.correct_output_scale"),
        "laurel.left": "layers.{i}.laurel.linear_left",
        "laurel.right": "layers.{i}.laurel.linear_right",
        "laurel.norm": "layers.{i}.laurel.post_laurel_norm",
    }


FAMILY = Family(
    architectures=("Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"),
    model_type="decoder",
    spec=spec,
    weights=weights,
    defaults={
        **GEMMA4_DEFAULTS,
        "altup_active_idx": 0,
        "altup_correct_scale": True,
        "altup_num_inputs": 4,
        "final_logit_softcapping": 30.0,
        "laurel_rank": 64,
        "max_position_embeddings": 32768,
        "num_key_value_heads": 2,
        "num_kv_shared_layers": 15,
        "rope_local_base_freq": 10000.0,
        "rope_theta": 1000000.0,
        "vocab_size": 262400,
    },
    prefixes=("model.", "model.language_model.", ""),
    ignored=(*GEMMA4_IGNORED, r"\.altup\.correct_output_scale$"),
    outer_tied=True,
)
