"""StarCoder 2: layer norms and biases everywhere, a feed-forward block without a gate, one window for all layers."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("layer", config.number("norm_epsilon"), bias=True)
    bias, window = config.flag("use_bias"), config.optional_integer("sliding_window")
    layer = LayerSpec(
        replace(llama_attention(config), qkv_bias=bias, output_bias=bias, window=window),
        replace(llama_mlp(config), gated=False, bias=bias),
        input_norm=norm,
        mlp_norm=norm,
    )
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("Starcoder2ForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        **{module: name for module, name in LLAMA_WEIGHTS.items() if module != "mlp.gate"},
        "mlp.up": "layers.{i}.mlp.c_fc",
        "mlp.down": "layers.{i}.mlp.c_proj",
    },
    defaults={
        "hidden_act": "gelu_pytorch_tanh",
        "norm_epsilon": 1e-5,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "use_bias": True,
    },
)
