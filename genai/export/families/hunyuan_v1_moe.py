"""Hunyuan v1 with experts (Hunyuan-A13B), beside one that every token passes."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, MoeSpec, RouterSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.hunyuan import HUNYUAN_NORMS, hunyuan_attention, with_stretched_base
from genai.export.layouts.moe import QWEN_MOE_WEIGHTS, expert_mlp, moe_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    _refuse_others(config)
    config = with_stretched_base(config)
    router = RouterSpec(_of_all_layers(config, "num_experts"), _of_all_layers(config, "moe_topk"))
    expert = expert_mlp(config)
    return moe_decoder(config, hunyuan_attention(config), MoeSpec(router, expert, shared=expert))


def _of_all_layers(config: ModelConfig, key: str) -> int:
    """A whole number that the config may have for each layer, but that is the same for all."""
    if not config.is_list(key):
        return config.integer(key)
    values = set(config.integers(key))
    if len(values) != 1:
        raise config.unsupported(key, "is not the same for all layers")
    return values.pop()


def _refuse_others(config: ModelConfig) -> None:
    """Refuse what the authors' own code knows and transformers does not look at."""
    config.refuse_misread("use_cla", "layers that share keys and values")
    config.refuse_misread("use_mla", "latent attention")
    config.refuse_misread("moe_layer_num_skipped", "layers without experts", unless=(None, 0))
    for key in ("use_qk_norm", "use_mixed_mlp_moe", "norm_topk_prob"):
        config.refuse_misread(key, "another model than Hunyuan-A13B", unless=(None, True))
    if "num_shared_expert" in config and _of_all_layers(config, "num_shared_expert") != 1:
        config.refuse_misread("num_shared_expert", "a wider block that every token passes")
    if "moe_intermediate_size" in config:
        size = _of_all_layers(config, "moe_intermediate_size")
        if size != config.integer("intermediate_size"):
            config.refuse_misread("moe_intermediate_size", "experts of another width")


FAMILY = Family(
    architectures=("HunYuanMoEV1ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **QWEN_MOE_WEIGHTS,
        **HUNYUAN_NORMS,
        "mlp.router": "layers.{i}.mlp.gate.wg",
        "mlp.shared.gate": "layers.{i}.mlp.shared_mlp.gate_proj",
        "mlp.shared.up": "layers.{i}.mlp.shared_mlp.up_proj",
        "mlp.shared.down": "layers.{i}.mlp.shared_mlp.down_proj",
    },
    defaults={"moe_topk": 1, "num_experts": 1, "rms_norm_eps": 1e-5, "tie_word_embeddings": False},
)
