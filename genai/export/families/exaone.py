"""EXAONE 3 to 3.5 and Deep: llama under GPT-2's names."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("layer_norm_epsilon"))
    mlp = llama_mlp(config, activation_key="activation_function")
    layer = LayerSpec(llama_attention(config), mlp, input_norm=norm, mlp_norm=norm)
    return decoder_of(config, [layer] * config.integer("num_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("ExaoneForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        "embedding": "wte",
        "input_norm": "h.{i}.ln_1",
        "attention.q": "h.{i}.attn.attention.q_proj",
        "attention.k": "h.{i}.attn.attention.k_proj",
        "attention.v": "h.{i}.attn.attention.v_proj",
        "attention.output": "h.{i}.attn.attention.out_proj",
        "mlp_norm": "h.{i}.ln_2",
        "mlp.gate": "h.{i}.mlp.c_fc_0",
        "mlp.up": "h.{i}.mlp.c_fc_1",
        "mlp.down": "h.{i}.mlp.c_proj",
        "final_norm": "ln_f",
        "head": "lm_head",
    },
    defaults={"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
    aliases={  # as transformers 5 saves them
        "hidden_act": "activation_function",
        "num_hidden_layers": "num_layers",
        "rms_norm_eps": "layer_norm_epsilon",
    },
    prefixes=("transformer.", ""),
    ignored=(r"\.attn\.attention\.rotary\.inv_freq$",),
)
