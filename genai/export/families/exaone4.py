"""EXAONE 4, and 4.5 without its images: norms after attention and feed-forward block instead of before; full attention without positions."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.exaone import exaone_attentions
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm, mlp = NormSpec("rms", config.number("rms_norm_eps")), llama_mlp(config)
    layers = [
        LayerSpec(attention, mlp, input_norm=None, mixer_output_norm=norm, mlp_output_norm=norm)
        for attention in exaone_attentions(config)
    ]
    return decoder_of(config, layers, final_norm=norm)


FAMILY = Family(
    architectures=("Exaone4ForCausalLM", "Exaone4_5_ForConditionalGeneration"),
    model_type="decoder",
    spec=spec,
    weights={
        **LLAMA_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
        "mixer_output_norm": "layers.{i}.post_attention_layernorm",
        "mlp_output_norm": "layers.{i}.post_feedforward_layernorm",
    },
    defaults={
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-5,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
        "tie_word_embeddings": False,
    },
    prefixes=("model.", "model.language_model.", ""),
    ignored=(r"^model\.visual\.", r"^mtp\."),
)
