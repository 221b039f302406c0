"""ERNIE 4.5's mixtures of experts: a bias corrects the probabilities by which experts are chosen."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, RouterSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Flat
from genai.export.layouts.ernie import ernie_attention, with_llama_biases
from genai.export.layouts.moe import SHARED_MOE_WEIGHTS, moe_decoder, shared_experts

__all__ = ["FAMILY"]

_NO_MINIMUM = 1e-6
"""Far below what the chosen experts' probabilities add up to, so that it has no effect as the minimum of their sum."""


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config = with_llama_biases(config)
    experts = shared_experts(config, _router(config))
    decoder = moe_decoder(config, ernie_attention(config), experts, dense=_dense_layers(config))
    return replace(decoder, head_bias=config.flag("use_bias"))


def _router(config: ModelConfig) -> RouterSpec:
    if config.number("moe_norm_min") > _NO_MINIMUM:
        raise config.unsupported("moe_norm_min", f"is above {_NO_MINIMUM}, which changes routing weights")
    return RouterSpec(config.integer("moe_num_experts"), config.integer("moe_k"), correction_bias=True)


def _dense_layers(config: ModelConfig) -> frozenset[int]:
    """All layers but each n-th from the first to the last that may have experts."""
    num_layers, interval = config.integer("num_hidden_layers"), config.integer("moe_layer_interval")
    first = config.integer("moe_layer_start_index", minimum=0)
    last = config.integer("moe_layer_end_index", -1, minimum=-1)
    last = num_layers - 1 if last == -1 else last
    return frozenset(
        index for index in range(num_layers) if (index + 1) % interval or not first <= index <= last
    )


FAMILY = Family(
    architectures=("Ernie4_5_MoeForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **SHARED_MOE_WEIGHTS,
        "mlp.router.correction_bias": Flat("layers.{i}.mlp.moe_statics.e_score_correction_bias"),
    },
    defaults={
        "moe_k": 6,
        "moe_layer_interval": 1,
        "moe_layer_start_index": 1,
        "moe_norm_min": 1e-12,
        "moe_num_experts": 64,
        "n_shared_experts": 2,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "use_bias": False,
    },
    aliases={"moe_num_shared_experts": "n_shared_experts"},
    ignored=(r"^model\.mtp_",),  # predicts the token after the next; decoding does without
)
