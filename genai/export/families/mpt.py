"""MPT: linear biases instead of positions, no biases anywhere, queries, keys and values that may be clipped.

As transformers reads it: without learned positions, which MPT's own code leaves out beside linear biases as well.
"""

from __future__ import annotations

from genai.export.architecture import AlibiSpec, AttentionSpec, DecoderSpec, LayerSpec, MlpSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import refuse_foreign_parts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_foreign_parts(config)
    _refuse_what_transformers_leaves_out(config)
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
    )


def _attention(config: ModelConfig) -> AttentionSpec:
    num_heads, options = config.integer("n_heads"), config.part("attn_config")
    return AttentionSpec(
        num_heads,
        num_heads,
        config.integer("d_model") // num_heads,
        scale=options.optional_number("softmax_scale"),
        qkv_clip=options.optional_number("clip_qkv") or None,
        alibi=AlibiSpec(AlibiSpec.slopes_for(num_heads)),
    )


def _refuse_what_transformers_leaves_out(config: ModelConfig) -> None:
    config.refuse("expansion_ratio", "a feed-forward block of another width", unless=(None, 4))
    config.refuse("logit_scale", "a factor on the logits", unless=(None,))
    config.refuse("no_bias", "biases", unless=(None, True))
    norms = (None, "layernorm", "low_precision_layernorm")
    config.refuse("norm_type", "norms other than layer norms", unless=norms)
    options = config.part("attn_config")
    options.refuse("alibi", "positions other than linear biases", unless=(None, True))
    options.refuse("alibi_bias_max", "linear biases of other slopes", unless=(None, 8))
    options.refuse("attn_type", "grouped keys and values", unless=(None, "multihead_attention"))
    options.refuse("prefix_lm", "a prefix that is seen in both directions")
    options.refuse("qk_ln", "norms of queries and keys")


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
