"""Nemotron-H and Nemotron 3: layers of one block each, Mamba-2, attention without positions, feed-forward or experts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from genai.export.architecture import (
    ACTIVATIONS,
    AttentionSpec,
    DecoderSpec,
    LayerSpec,
    Mamba2Spec,
    MlpSpec,
    MoeSpec,
    NormSpec,
)
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import decoder_of
from genai.export.layouts.mamba2 import check_time_steps, mamba2_weights
from genai.export.layouts.moe import corrected_router

__all__ = ["FAMILY"]

_KINDS: Mapping[str, str] = {
    "M": "mamba",
    "*": "attention",
    "-": "mlp",
    "E": "moe",
    "linear_attention": "mamba",
    "full_attention": "attention",
}
"""Other names of a layer's kind; the pattern's are letters."""


_WEIGHTS: WeightMap = {
    "embedding": "embeddings",
    "input_norm": "layers.{i}.norm",
    "mlp_norm": "layers.{i}.norm",
    "attention.q": "layers.{i}.mixer.q_proj",
    "attention.k": "layers.{i}.mixer.k_proj",
    "attention.v": "layers.{i}.mixer.v_proj",
    "attention.output": "layers.{i}.mixer.o_proj",
    **mamba2_weights("layers.{i}.mixer"),
    "mlp.up": "layers.{i}.mixer.up_proj",
    "mlp.down": "layers.{i}.mixer.down_proj",
    "mlp.router": "layers.{i}.mixer.gate",
    "mlp.router.correction_bias": "layers.{i}.mixer.gate.e_score_correction_bias",
    "mlp.experts.up": "layers.{i}.mixer.experts.{e}.up_proj",
    "mlp.experts.down": "layers.{i}.mixer.experts.{e}.down_proj",
    "mlp.shared.up": "layers.{i}.mixer.shared_experts.up_proj",
    "mlp.shared.down": "layers.{i}.mixer.shared_experts.down_proj",
    "final_norm": "norm_f",
    "head": "lm_head",
}
"""A layer's one norm stands before whatever it has."""


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse("moe_latent_size", "experts that read a smaller vector cannot be exported", unless=(None,))
    norm = NormSpec("rms", config.number("layer_norm_epsilon"))
    makers: Mapping[str, Callable[[ModelConfig], LayerSpec]] = {
        "mamba": lambda config: LayerSpec(_mamba(config, norm), None, input_norm=norm),
        "attention": lambda config: LayerSpec(_attention(config), None, input_norm=norm),
        "mlp": lambda config: LayerSpec(None, _mlp(config), input_norm=None, mlp_norm=norm),
        "moe": lambda config: LayerSpec(None, _experts(config), input_norm=None, mlp_norm=norm),
    }
    kinds = [_KINDS.get(kind, kind) for kind in _blocks(config)]
    if unknown := sorted(set(kinds) - makers.keys()):
        raise config.unsupported("layers_block_type", f'asks for "{unknown[0]}", which is not supported')
    layers = [makers[kind](config) for kind in kinds]
    return decoder_of(config, layers, final_norm=norm)


def _blocks(config: ModelConfig) -> list[str]:
    for key in ("layers_block_type", "layer_types"):
        if key in config:
            return list(config.strings(key))
    return list(config.string("hybrid_override_pattern"))


def _mamba(config: ModelConfig, norm: NormSpec) -> Mamba2Spec:
    config.choice("mamba_hidden_act", ("silu", "swish"))
    check_time_steps(config, "time_step_limit")
    return Mamba2Spec(
        num_heads=config.integer("mamba_num_heads"),
        head_dim=config.integer("mamba_head_dim"),
        num_groups=config.integer("n_groups"),
        state_size=config.integer("ssm_state_size"),
        conv_width=config.integer("conv_kernel", minimum=2),
        norm=norm,
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias"),
    )


def _attention(config: ModelConfig) -> AttentionSpec:
    return AttentionSpec(
        num_heads=config.integer("num_attention_heads"),
        num_kv_heads=config.integer("num_key_value_heads"),
        head_dim=config.integer("head_dim"),
        rope=None,
    )


def _mlp(config: ModelConfig) -> MlpSpec:
    activation = ACTIVATIONS[config.choice("mlp_hidden_act", ACTIVATIONS)]
    size = config.integer("intermediate_size")
    return MlpSpec(size, activation, gated=False, bias=config.flag("mlp_bias"))


def _experts(config: ModelConfig) -> MoeSpec:
    mlp = _mlp(config)
    expert = replace(mlp, intermediate_size=config.integer("moe_intermediate_size"), bias=False)
    shared = replace(mlp, intermediate_size=config.integer("moe_shared_expert_intermediate_size"))
    return MoeSpec(corrected_router(config), expert, shared=shared)


FAMILY = Family(
    architectures=("NemotronHForCausalLM",),
    model_type="granitemoehybrid",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights=_WEIGHTS,
    defaults={
        "conv_kernel": 4,
        "head_dim": 128,
        "intermediate_size": 21504,
        "layer_norm_epsilon": 1e-5,
        "mamba_head_dim": 64,
        "mamba_hidden_act": "silu",
        "mamba_num_heads": 128,
        "max_position_embeddings": 4096,
        "mlp_bias": False,
        "mlp_hidden_act": "relu2",
        "moe_intermediate_size": 7688,
        "moe_shared_expert_intermediate_size": 7688,
        "n_group": 1,
        "n_groups": 8,
        "n_routed_experts": 8,
        "norm_topk_prob": True,
        "num_attention_heads": 32,
        "num_experts_per_tok": 2,
        "num_key_value_heads": 8,
        "routed_scaling_factor": 1.0,
        "ssm_state_size": 128,
        "topk_group": 1,
        "use_bias": False,
        "use_conv_bias": True,
    },
    aliases={
        "mamba_conv_bias": "use_conv_bias",
        "mamba_d_conv": "conv_kernel",
        "mamba_dt_limit": "time_step_limit",
        "mamba_n_groups": "n_groups",
    },
    prefixes=("backbone.", "model."),
    ignored=(r"^mtp\.",),
)
