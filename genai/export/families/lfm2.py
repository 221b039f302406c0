"""LFM2, alone or within LFM2 VL: gated short convolutions in most layers, attention with normalized queries and keys in the others."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, MlpSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.lfm2 import LFM2_WEIGHTS, lfm2_decoder
from genai.export.layouts.llama import refuse_other_decoders

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_other_decoders(config, "lfm2", "lfm2_vl")
    mlp = MlpSpec(_intermediate_size(config), "silu")
    return lfm2_decoder(config, [mlp] * config.integer("num_hidden_layers"))


def _intermediate_size(config: ModelConfig) -> int:
    """What the config says, or two thirds of that, times a factor and rounded up where there is one."""
    size = config.integer("block_ff_dim", config.integer("intermediate_size"))
    if not config.flag("block_auto_adjust_ff_dim"):
        return size
    if "block_ffn_dim_multiplier" not in config:
        return int(2 * size / 3)
    size = int(config.number("block_ffn_dim_multiplier") * int(2 * size / 3))
    multiple = config.integer("block_multiple_of")
    return -(-size // multiple) * multiple


FAMILY = Family(
    architectures=("Lfm2ForCausalLM", "Lfm2VlForConditionalGeneration"),
    model_type="lfm2",
    spec=spec,
    weights=LFM2_WEIGHTS,
    defaults={
        "block_auto_adjust_ff_dim": True,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
        "conv_L_cache": 3,
        "conv_bias": False,
        "intermediate_size": 12288,
        "max_position_embeddings": 128_000,
        "norm_eps": 1e-5,
        "num_key_value_heads": 8,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
    },
    prefixes=("model.", "model.language_model.", ""),
    ignored=(r"^model\.vision_tower\.", r"^model\.multi_modal_projector\."),
)
