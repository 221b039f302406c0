"""LFM2 with experts: sigmoid scores, a bias that only the choice sees, dense feed-forward blocks in the first layers."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, FeedForward, MlpSpec, MoeSpec, RouterSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Named
from genai.export.layouts.lfm2 import LFM2_WEIGHTS, lfm2_decoder
from genai.export.layouts.moe import expert_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    router = RouterSpec(
        num_experts=config.integer("num_experts"),
        num_experts_per_token=config.integer("num_experts_per_tok"),
        scores="sigmoid",
        normalize=config.flag("norm_topk_prob"),
        scaling_factor=config.number("routed_scaling_factor"),
        correction_bias=config.flag("use_expert_bias"),
    )
    moe = MoeSpec(router, expert_mlp(config, size_key="moe_intermediate_size"))
    dense, num_dense = (
        MlpSpec(config.integer("intermediate_size"), "silu"),
        config.integer("num_dense_layers", minimum=0),
    )
    mlps: list[FeedForward] = [
        dense if index < num_dense else moe for index in range(config.integer("num_hidden_layers"))
    ]
    return lfm2_decoder(config, mlps)


FAMILY = Family(
    architectures=("Lfm2MoeForCausalLM",),
    model_type="lfm2",  # onnxruntime-genai knows this one, whose states are the same
    spec=spec,
    weights={
        **LFM2_WEIGHTS,
        "mlp.router": "layers.{i}.feed_forward.gate",
        "mlp.router.correction_bias": Named("layers.{i}.feed_forward.expert_bias"),
        "mlp.experts.gate": "layers.{i}.feed_forward.experts.{e}.w1",
        "mlp.experts.up": "layers.{i}.feed_forward.experts.{e}.w3",
        "mlp.experts.down": "layers.{i}.feed_forward.experts.{e}.w2",
    },
    defaults={
        "conv_L_cache": 3,
        "conv_bias": False,
        "intermediate_size": 7168,
        "max_position_embeddings": 128_000,
        "moe_intermediate_size": 1792,
        "norm_eps": 1e-5,
        "norm_topk_prob": True,
        "num_dense_layers": 2,
        "num_experts": 32,
        "num_experts_per_tok": 4,
        "num_key_value_heads": 8,
        "rope_theta": 1_000_000.0,
        "routed_scaling_factor": 1.0,
        "tie_word_embeddings": True,
        "use_expert_bias": True,
    },
)
