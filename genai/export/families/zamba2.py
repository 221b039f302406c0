"""Zamba 2: Mamba-2 in every layer, and before some of them blocks of attention and feed-forward that they share."""

from __future__ import annotations

from genai.export.architecture import (
    ACTIVATIONS,
    AttentionSpec,
    DecoderSpec,
    LayerSpec,
    Mamba2Spec,
    MlpSpec,
    NormSpec,
    SharedBlockSpec,
)
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Source, WeightMap
from genai.export.layouts.llama import decoder_of
from genai.export.layouts.mamba2 import mamba2_head_dim, mamba2_weights

__all__ = ["FAMILY"]

Entries = dict[str | tuple[str, ...], Source]

MAMBA_TYPES = {"mamba", "linear_attention"}


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse("use_long_context", "positions that are scaled for it cannot be exported")
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    mamba, hybrids = _mamba(config), _hybrids(config)
    layers = [
        LayerSpec(
            mamba,
            None,
            input_norm=norm,
            shared=_block(config, norm, hybrids.index(index)) if index in hybrids else None,
        )
        for index in range(config.integer("num_hidden_layers"))
    ]
    return decoder_of(config, layers, final_norm=norm)


def _hybrids(config: ModelConfig) -> list[int]:
    """Return the layers with a shared block."""
    types = config.strings("layers_block_type")
    others = sorted(set(types) - MAMBA_TYPES - {"hybrid"})
    if others or len(types) != config.integer("num_hidden_layers"):
        raise config.unsupported(
            "layers_block_type",
            f"asks for {len(types)} layers, {', '.join(others) or 'not the number that there are'}",
        )
    return [index for index, kind in enumerate(types) if kind == "hybrid"]


def _mamba(config: ModelConfig) -> Mamba2Spec:
    num_heads = config.integer("n_mamba_heads")
    width = config.integer("mamba_expand") * config.integer("hidden_size")
    return Mamba2Spec(
        num_heads=num_heads,
        head_dim=mamba2_head_dim(width, num_heads),
        num_groups=config.integer("mamba_ngroups"),
        state_size=config.integer("mamba_d_state"),
        conv_width=config.integer("mamba_d_conv", minimum=2),
        norm=NormSpec("rms", 1e-5),
        bias=config.flag("add_bias_linear"),
        least_step=config.number("time_step_min"),
    )


def _block(config: ModelConfig, norm: NormSpec, use: int) -> SharedBlockSpec:
    """Return what the layer with this number among those with a block has."""
    num_heads = config.integer("num_attention_heads")
    head_dim = 2 * config.integer("hidden_size") // num_heads
    attention = AttentionSpec(
        num_heads=num_heads,
        num_kv_heads=config.integer("num_key_value_heads", num_heads),
        head_dim=head_dim,
        scale=(head_dim / 2) ** -0.5,
        rope=read_rope(config, head_dim=head_dim) if config.flag("use_mem_rope") else None,
    )
    mlp = MlpSpec(
        config.integer("intermediate_size", 4 * config.integer("hidden_size")),
        ACTIVATIONS[config.choice("hidden_act", ACTIVATIONS)],
        bias=config.flag("add_bias_linear"),
    )
    return SharedBlockSpec(
        number=use % config.integer("num_mem_blocks"),
        attention=attention,
        mlp=mlp,
        norm=norm,
        rank=config.integer("adapter_rank"),
        adapts_attention=config.flag("use_shared_attention_adapter"),
    )


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights; those of a block are stored in the first layer that has it."""
    hybrids, num_blocks = _hybrids(config), config.integer("num_mem_blocks")
    entries: Entries = {
        "embedding": "embed_tokens",
        "final_norm": "final_layernorm",
        "head": "lm_head",
    }
    for index in range(config.integer("num_hidden_layers")):
        module = f"layers.{index}.mamba_decoder" if index in hybrids else f"layers.{index}"
        entries[f"layers.{index}.input_norm"] = f"{module}.input_layernorm"
        entries |= _within(f"layers.{index}", mamba2_weights(f"{module}.mamba"))
    for use, index in enumerate(hybrids):
        stored = f"layers.{hybrids[use % num_blocks]}.shared_transformer"
        if use < num_blocks:
            entries |= _within(f"blocks.{use}", _block_weights(stored))
        entries[f"layers.{index}.shared.output"] = f"layers.{index}.linear"
        entries |= _within(f"layers.{index}.shared", _adapter_weights(stored, use))
    return entries


def _block_weights(module: str) -> Entries:
    return {
        "input_norm": f"{module}.input_layernorm",
        "attention.q": f"{module}.self_attn.q_proj",
        "attention.k": f"{module}.self_attn.k_proj",
        "attention.v": f"{module}.self_attn.v_proj",
        "attention.output": f"{module}.self_attn.o_proj",
        "mlp_norm": f"{module}.pre_ff_layernorm",
        ("mlp.gate", "mlp.up"): f"{module}.feed_forward.gate_up_proj",
        "mlp.down": f"{module}.feed_forward.down_proj",
    }


def _adapter_weights(module: str, use: int) -> Entries:
    names = {name: f"{module}.self_attn.linear_{name}_adapter_list.{use}" for name in ("q", "k", "v")}
    names["gate_up"] = f"{module}.feed_forward.gate_up_proj_adapter_list.{use}"
    return {
        f"{name}.lora_{part}": f"{stored}.{place}"
        for name, stored in names.items()
        for place, part in enumerate("AB")
    }


def _within(scope: str, entries: Entries) -> Entries:
    """Return entries with a scope before the names of the decoder's modules."""
    return {
        f"{scope}.{modules}" if isinstance(modules, str) else tuple(f"{scope}.{m}" for m in modules): source
        for modules, source in entries.items()
    }


FAMILY = Family(
    architectures=("Zamba2ForCausalLM",),
    model_type="granitemoehybrid",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights=weights,
    defaults={
        "adapter_rank": 128,
        "add_bias_linear": False,
        "hidden_act": "gelu",
        "mamba_d_conv": 4,
        "mamba_d_state": 64,
        "mamba_expand": 2,
        "mamba_ngroups": 1,
        "max_position_embeddings": 4096,
        "n_mamba_heads": 8,
        "num_mem_blocks": 1,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "time_step_min": 0.001,
        "use_long_context": False,
        "use_mem_rope": False,
        "use_shared_attention_adapter": False,
    },
    aliases={"layer_types": "layers_block_type"},
)
