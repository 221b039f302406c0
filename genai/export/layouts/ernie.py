"""What ERNIE 4.5's text models share: Llama with neighbours rotated together, and one key for all biases."""

from __future__ import annotations

from genai.export.architecture import AttentionSpec
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import head_dim_of, llama_attention

__all__ = ["ernie_attention", "with_llama_biases"]


def with_llama_biases(config: ModelConfig) -> ModelConfig:
    """Return the config with llama's keys of biases, all of them as `use_bias` says."""
    bias = config.flag("use_bias")
    return config.overlaid(ModelConfig({"attention_bias": bias, "mlp_bias": bias}))


def ernie_attention(config: ModelConfig) -> AttentionSpec:
    """Return the attention of every layer."""
    return llama_attention(config, rope=read_rope(config, head_dim=head_dim_of(config), interleaved=True))
