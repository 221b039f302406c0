"""Apertus: llama with a feed-forward block of xIELU instead of a gate, and queries and keys normalized per head."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import ACTIVATIONS, Activation, DecoderSpec, LayerSpec, MlpSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention

__all__ = ["FAMILY"]

_ACTIVATIONS: dict[str, Activation] = {**ACTIVATIONS, "xielu": "xielu"}
_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse_misread("post_norm", "norms after the blocks")
    config.refuse_misread("qk_norm", "queries and keys that are not normalized", unless=(None, True))
    if "rope_scaling" not in config:
        config = config.filled(rope_parameters=_ROPE)
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    activation = _ACTIVATIONS[config.choice("hidden_act", _ACTIVATIONS)]
    layer = LayerSpec(
        replace(llama_attention(config), qk_norm=norm),
        MlpSpec(config.integer("intermediate_size"), activation, gated=False),
        input_norm=norm,
        mlp_norm=norm,
    )
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("ApertusForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        **{module: name for module, name in LLAMA_WEIGHTS.items() if module != "mlp.gate"},
        "input_norm": "layers.{i}.attention_layernorm",
        "mlp_norm": "layers.{i}.feedforward_layernorm",
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
        "mlp.activation.alpha_p": "layers.{i}.mlp.act_fn.alpha_p",
        "mlp.activation.alpha_n": "layers.{i}.mlp.act_fn.alpha_n",
        "mlp.activation.beta": "layers.{i}.mlp.act_fn.beta",
        "mlp.activation.eps": "layers.{i}.mlp.act_fn.eps",
    },
    defaults={
        "hidden_act": "xielu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 12000000.0,
        "tie_word_embeddings": False,
    },
)
