"""MiniMax-Text-01 and M1: linear attention with fixed decays in most layers, experts, a residual stream of normalized values."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import (
    DecoderSpec,
    LayerSpec,
    LightningAttentionSpec,
    Mixer,
    MoeSpec,
    NormedStreamSpec,
    NormSpec,
)
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, WeightMap
from genai.export.layouts.llama import decoder_of, head_dim_of, layer_types, llama_attention
from genai.export.layouts.moe import MIXTRAL_WEIGHTS, expert_mlp, softmax_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    _refuse_others(config)
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    experts = MoeSpec(softmax_router(config), expert_mlp(config))
    layers = [
        LayerSpec(
            _mixer(config, kind, index),
            experts,
            input_norm=norm,
            mlp_norm=norm,
            normed_stream=NormedStreamSpec(
                _factors(config, "full_attn" if kind == "full_attention" else "linear_attn"),
                _factors(config, "mlp"),
            ),
        )
        for index, kind in enumerate(_layer_types(config))
    ]
    return decoder_of(config, layers, final_norm=norm)


def _refuse_others(config: ModelConfig) -> None:
    """Refuse what the authors' own code knows and transformers does not look at."""
    expected = (True,) if "attn_type_list" in config else (None, True)
    config.refuse_misread("postnorm", "a residual stream past the norms", unless=expected)
    config.refuse_misread("shared_intermediate_size", "an expert that every token passes", unless=(None, 0))


def _layer_types(config: ModelConfig) -> list[str]:
    """Each layer's type; the authors' own configs have numbers for them."""
    if "attn_type_list" in config and "layer_types" not in config:
        full = {index for index, kind in enumerate(config.integers("attn_type_list")) if kind == 1}
    else:
        full = set(range(0, config.integer("num_hidden_layers"), 2))
    return layer_types(config, "full_attention", "linear_attention", is_first=lambda index: index in full)


def _mixer(config: ModelConfig, kind: str, index: int) -> Mixer:
    if kind == "linear_attention":
        return _linear_attention(config, index)
    if "rotary_dim" in config:
        config = config.filled(partial_rotary_factor=config.integer("rotary_dim") / head_dim_of(config))
    return replace(llama_attention(config), window=config.optional_integer("sliding_window"))


def _linear_attention(config: ModelConfig, index: int) -> LightningAttentionSpec:
    """Its heads forget at rates of a geometric sequence, and more slowly in later layers."""
    num_heads, num_layers = config.integer("num_attention_heads"), config.integer("num_hidden_layers")
    factor = 1 - index / (num_layers - 1 + 1e-5) + 1e-5
    return LightningAttentionSpec(
        head_dim=head_dim_of(config),
        slopes=tuple(2 ** (-8 * (head + 1) / num_heads) * factor for head in range(num_heads)),
        activation=expert_mlp(config).activation,
        norm=NormSpec("rms", 1e-6),
    )


def _factors(config: ModelConfig, part: str) -> tuple[float, float]:
    return config.number(f"{part}_alpha_factor"), config.number(f"{part}_beta_factor")


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights; each head's query, key and value are stored together in linear attention."""
    attention, num_heads = "layers.{i}.self_attn", config.integer("num_attention_heads")
    return {
        **MIXTRAL_WEIGHTS,
        ("lightning.q", "lightning.k", "lightning.v"): Grouped(f"{attention}.qkv_proj", num_heads),
        "lightning.gate": f"{attention}.output_gate",
        "lightning.norm": f"{attention}.norm",
        "lightning.output": f"{attention}.out_proj",
    }


_FACTORS = {
    f"layernorm_{theirs}_{factor}": f"{ours}_{factor}_factor"
    for theirs, ours in (("full_attention", "full_attn"), ("linear_attention", "linear_attn"), ("mlp", "mlp"))
    for factor in ("alpha", "beta")
}
"""The authors' names of the factors around the additions."""


FAMILY = Family(
    architectures=("MiniMaxForCausalLM", "MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM"),
    model_type="qwen3_5_moe_text",  # onnxruntime-genai has no name for it, and this one's graph has such states
    spec=spec,
    weights=weights,
    defaults={
        **dict.fromkeys(_FACTORS.values(), 1),
        "max_position_embeddings": 131072,
        "num_experts_per_tok": 2,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
    },
    aliases=_FACTORS,
    ignored=(r"\.self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$",),  # follow from the config
)
