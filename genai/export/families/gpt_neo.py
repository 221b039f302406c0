"""GPT-Neo and TinyStories: GPT-2 with unscaled attention, a window on every other layer, separate projections."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.gpt import gpt_mlp
from genai.export.layouts.llama import refuse_foreign_parts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_foreign_parts(config)
    hidden_size, num_heads = config.integer("hidden_size"), config.integer("num_heads")
    norm = NormSpec("layer", config.number("layer_norm_epsilon"), bias=True)
    mlp = gpt_mlp(config, default_size=4 * hidden_size, activation_key="activation_function")
    attention = AttentionSpec(num_heads, num_heads, hidden_size // num_heads, scale=1.0, output_bias=True)
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=config.integer("max_position_embeddings"),
        layers=tuple(
            LayerSpec(replace(attention, window=window), mlp, norm, mlp_norm=norm)
            for window in _windows(config)
        ),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings"),
        learned_positions=config.integer("max_position_embeddings"),
    )


def _windows(config: ModelConfig) -> list[int | None]:
    """Each layer's window: `attention_layers` names their types, which are global and local in turn without it."""
    num_layers = config.integer("num_layers")
    types = ("global", "local") * ((num_layers + 1) // 2)
    if "attention_layers" in config:
        types = config.strings("attention_layers")
    elif "attention_types" in config:
        raise config.unsupported("attention_types", 'must be spelled out as "attention_layers"')
    if len(types) < num_layers or set(types) - {"global", "local"}:
        raise config.unsupported("attention_layers", f"must name {num_layers} layers, global or local")
    window = config.integer("window_size")
    return [window if kind == "local" else None for kind in types[:num_layers]]


FAMILY = Family(
    architectures=("GPTNeoForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        "embedding": "wte",
        "position_embedding": "wpe",
        "input_norm": "h.{i}.ln_1",
        "attention.q": "h.{i}.attn.attention.q_proj",
        "attention.k": "h.{i}.attn.attention.k_proj",
        "attention.v": "h.{i}.attn.attention.v_proj",
        "attention.output": "h.{i}.attn.attention.out_proj",
        "mlp_norm": "h.{i}.ln_2",
        "mlp.up": "h.{i}.mlp.c_fc",
        "mlp.down": "h.{i}.mlp.c_proj",
        "final_norm": "ln_f",
        "head": "lm_head",
    },
    defaults={
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
        "window_size": 256,
    },
    prefixes=("transformer.", ""),
    ignored=(r"\.attn\.attention\.(masked_)?bias$",),
)
