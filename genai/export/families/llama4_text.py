"""Llama 4's decoder, alone or within the multimodal model: chunks of attention, and one expert beside a shared one."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import (
    AttentionSpec,
    DecoderSpec,
    LayerSpec,
    MoeSpec,
    NormSpec,
    QueryScaling,
    RouterSpec,
)
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import IfStored, Named, Transposed
from genai.export.layouts.llama import (
    LLAMA_WEIGHTS,
    decoder_of,
    head_dim_of,
    layer_types,
    layers_with_rope,
    llama_attention,
)
from genai.export.layouts.moe import expert_mlp, num_experts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    dense = expert_mlp(config, size_key="intermediate_size_mlp")
    experts, with_experts = _experts(config), _layers_with_experts(config)
    layers = [
        LayerSpec(attention, experts if index in with_experts else dense, input_norm=norm, mlp_norm=norm)
        for index, attention in enumerate(_attentions(config))
    ]
    return decoder_of(config, layers, final_norm=norm)


def _attentions(config: ModelConfig) -> list[AttentionSpec]:
    """Return each layer's attention: with a rotary embedding within chunks, or neither."""
    if "no_rope_layers" in config and not config.integers("no_rope_layers"):
        config = config.without("no_rope_layers")  # an empty list is none
    has_rope, chunk = layers_with_rope(config), config.optional_integer("attention_chunk_size")
    types = layer_types(
        config,
        "chunked_attention",
        "full_attention",
        is_first=lambda index: has_rope[index] and chunk is not None,
    )
    if chunk is None and "chunked_attention" in types:
        raise config.unsupported("attention_chunk_size", "is missing, but layers attend within chunks")
    rotated = _rotated(config)
    plain = replace(rotated, rope=None, qk_norm=None, query_scaling=_query_scaling(config))
    return [
        replace(rotated if rotates else plain, chunk=chunk if kind == "chunked_attention" else None)
        for rotates, kind in zip(has_rope, types, strict=True)
    ]


def _rotated(config: ModelConfig) -> AttentionSpec:
    """Return the attention of a layer with a rotary embedding.

    Its norm comes after that and has no weight. What rotates keeps its length, so that the norm may come first as well,
    and the kernel may rotate; unless the embedding also scales.
    """
    rope = read_rope(config, head_dim=head_dim_of(config), interleaved=True)
    if rope.switch_length is not None:
        raise config.unsupported(
            "rope_scaling", "has two tables of positions, which chunks cannot be cut from"
        )
    norm = NormSpec("rms", config.number("rms_norm_eps"), weight=False)
    return replace(
        llama_attention(config, rope=rope),
        qk_norm=norm if config.flag("use_qk_norm") else None,
        qk_norm_after_rope=rope.magnitude != 1.0,
    )


def _query_scaling(config: ModelConfig) -> QueryScaling | None:
    if not config.flag("attn_temperature_tuning"):
        return None
    return QueryScaling(config.number("attn_scale"), config.integer("floor_scale"), offset=1)


def _experts(config: ModelConfig) -> MoeSpec:
    """Return the experts of a layer; the weight of the only one that a token passes multiplies what that reads."""
    config.refuse("num_experts_per_tok", "weights of several experts on what they read", unless=(1,))
    router = RouterSpec(num_experts(config), 1, scores="sigmoid", normalize=False)
    expert = expert_mlp(config)
    return MoeSpec(router, expert, shared=expert, weighs_input=True)


def _layers_with_experts(config: ModelConfig) -> frozenset[int]:
    """Return which layers have experts: those listed, or every n-th."""
    if "moe_layers" in config:
        return frozenset(config.integers("moe_layers"))
    step = config.integer("interleave_moe_layer_step")
    return frozenset(range(step - 1, config.integer("num_hidden_layers"), step))


FAMILY = Family(
    architectures=("Llama4ForCausalLM", "Llama4ForConditionalGeneration"),
    model_type="decoder",
    spec=spec,
    weights={
        ("mlp.experts.gate", "mlp.experts.up"): IfStored(
            Transposed(Named("layers.{i}.feed_forward.experts.gate_up_proj"))
        ),
        ("mlp.experts.down",): IfStored(Transposed(Named("layers.{i}.feed_forward.experts.down_proj"))),
        **LLAMA_WEIGHTS,
        "mlp.gate": "layers.{i}.feed_forward.gate_proj",
        "mlp.up": "layers.{i}.feed_forward.up_proj",
        "mlp.down": "layers.{i}.feed_forward.down_proj",
        "mlp.router": "layers.{i}.feed_forward.router",
        # each expert by itself, as tools that quantize matrices one by one write them
        "mlp.experts.gate": "layers.{i}.feed_forward.experts.{e}.gate_proj",
        "mlp.experts.up": "layers.{i}.feed_forward.experts.{e}.up_proj",
        "mlp.experts.down": "layers.{i}.feed_forward.experts.{e}.down_proj",
        "mlp.shared.gate": "layers.{i}.feed_forward.shared_expert.gate_proj",
        "mlp.shared.up": "layers.{i}.feed_forward.shared_expert.up_proj",
        "mlp.shared.down": "layers.{i}.feed_forward.shared_expert.down_proj",
    },
    defaults={
        "attention_chunk_size": 8192,
        "attn_scale": 0.1,
        "attn_temperature_tuning": True,
        "floor_scale": 8192,
        "head_dim": 128,
        "interleave_moe_layer_step": 1,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "max_position_embeddings": 131072,
        "no_rope_layer_interval": 4,
        "num_attention_heads": 40,
        "num_experts_per_tok": 1,
        "num_key_value_heads": 8,
        "num_local_experts": 16,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "use_qk_norm": True,
    },
    prefixes=("model.", "language_model.model.", ""),
    ignored=(r"(^|\.)(vision_model|multi_modal_projector)\.",),
)
