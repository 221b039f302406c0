"""What the Mistral models share: llama with one window for all layers, and queries that grow with the position."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, QueryScaling
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention, llama_decoder

__all__ = ["llama4_scaling", "mistral_decoder"]


def mistral_decoder(config: ModelConfig) -> DecoderSpec:
    """Return the decoder of a text config, whether of Mistral's or of Ministral 3's."""
    windows = [config.optional_integer("sliding_window")] * config.integer("num_hidden_layers")
    attention = replace(llama_attention(config), query_scaling=llama4_scaling(config))
    return llama_decoder(config, attention, windows=windows)


def llama4_scaling(config: ModelConfig) -> QueryScaling | None:
    """Return the factor that queries grow by with the position, where the rotary parameters have one."""
    parameters = config.part("rope_parameters")
    beta = parameters.optional_number("llama_4_scaling_beta")
    if not beta:
        return None
    return QueryScaling(beta, parameters.integer("original_max_position_embeddings"))
