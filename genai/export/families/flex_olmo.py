"""FlexOlmo: OLMo 2 with one expert for each body of data."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, MoeSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import decoder_of, llama_attention
from genai.export.layouts.moe import QWEN_MOE_WEIGHTS, expert_mlp, softmax_router
from genai.export.layouts.olmo import OLMO_WEIGHTS, olmo_layer

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    router = softmax_router(config, normalize=config.flag("norm_topk_prob"))
    layer = olmo_layer(llama_attention(config), MoeSpec(router, expert_mlp(config)), norm)
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("FlexOlmoForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **{module: name for module, name in QWEN_MOE_WEIGHTS.items() if "mlp" in module},
        **OLMO_WEIGHTS,
    },
    defaults={
        "norm_topk_prob": False,
        "num_experts": 7,
        "num_experts_per_tok": 5,
        "rms_norm_eps": 1e-6,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
    },
)
