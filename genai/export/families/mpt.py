"""MPT: linear biases instead of positions, no biases anywhere, queries, keys and values that may be clipped.

As MPT's own code reads it: without learned positions, which it leaves out beside linear biases. transformers ignores most
of what is refused here, so that nothing of it may be left to its exporter.
"""

from __future__ import annotations

from genai.errors import CheckpointError
from genai.export.architecture import AlibiSpec, AttentionSpec, DecoderSpec, LayerSpec, MlpSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import refuse_foreign_parts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_foreign_parts(config)
    _refuse_what_is_not_computed(config)
    hidden_size = config.integer("d_model")
    norm = NormSpec("layer", config.number("layer_norm_epsilon"))
    layer = LayerSpec(
        _attention(config),
        MlpSpec(4 * hidden_size, "gelu", gated=False),
        input_norm=norm,
        mlp_norm=norm,
    )
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=config.integer("max_seq_len"),
        layers=(layer,) * config.integer("n_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings"),
        logit_scale=_logit_scale(config),
    )


def _attention(config: ModelConfig) -> AttentionSpec:
    num_heads, options = config.integer("n_heads"), config.part("attn_config")
    return AttentionSpec(
        num_heads,
        num_heads,
        config.integer("d_model") // num_heads,
        scale=options.optional_number("softmax_scale"),
        qkv_clip=options.optional_number("clip_qkv") or None,
        alibi=AlibiSpec(AlibiSpec.slopes_for(num_heads, bias_max=options.number("alibi_bias_max", 8))),
    )


def _logit_scale(config: ModelConfig) -> float:
    """Return the factor on the logits: a number, or the one name that MPT's own code knows."""
    try:
        return config.number("logit_scale", 1.0)
    except CheckpointError:
        config.refuse_misread("logit_scale", "a factor on the logits", unless=("inv_sqrt_d_model",))
    return float(config.integer("d_model") ** -0.5)


def _refuse_what_is_not_computed(config: ModelConfig) -> None:
    config.refuse_misread("expansion_ratio", "a feed-forward block of another width", unless=(None, 4))
    config.refuse_misread("no_bias", "biases", unless=(None, True))
    norms = (None, "layernorm", "low_precision_layernorm")
    config.refuse_misread("norm_type", "norms other than layer norms", unless=norms)
    options = config.part("attn_config")
    options.refuse_misread("alibi", "positions other than linear biases", unless=(None, True))
    options.refuse_misread("attn_type", "grouped keys and values", unless=(None, "multihead_attention"))
    options.refuse_misread("prefix_lm", "a prefix that is seen in both directions")
    options.refuse_misread("rope", "rotary positions")
    options.refuse_misread("sliding_window_size", "attention within a window", unless=(None, -1))
    options.refuse_misread("qk_ln", "norms of queries and keys")


FAMILY = Family(
    architectures=("MptForCausalLM", "MPTForCausalLM"),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        "embedding": "wte",
        "input_norm": "blocks.{i}.norm_1",
        ("attention.q", "attention.k", "attention.v"): "blocks.{i}.attn.Wqkv",
        "attention.output": "blocks.{i}.attn.out_proj",
        "mlp_norm": "blocks.{i}.norm_2",
        "mlp.up": "blocks.{i}.ffn.up_proj",
        "mlp.down": "blocks.{i}.ffn.down_proj",
        "final_norm": "norm_f",
        "head": "lm_head",
    },
    defaults={"layer_norm_epsilon": 1e-5, "max_seq_len": 2048, "tie_word_embeddings": True},
    aliases={"hidden_size": "d_model", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"},
    prefixes=("transformer.", ""),
)
