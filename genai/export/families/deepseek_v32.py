"""DeepSeek-V3.2: V3, in which each token attends to the few thousand earlier ones that an indexer chooses.

As long as a sequence has no more tokens than are chosen, all of them are: the attention is V3's, and the indexer has no
part in it. Beyond that its keys would have to be cached too, and the scores of all tokens computed once more.
"""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.deepseek import DEEPSEEK_V3_DEFAULTS, deepseek_decoder, deepseek_weights
from genai.export.layouts.moe import corrected_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json, for sequences of which every token is chosen."""
    config.refuse("rope_interleave", "its attention always rotates neighbours together", unless=(None, True))
    decoder = deepseek_decoder(config.without("mlp_bias"), corrected_router(config))  # no bias in any case
    num_chosen = config.integer("index_topk")
    if decoder.max_positions <= num_chosen:
        return decoder
    reason = (
        f"beyond {num_chosen} tokens (index_topk) its indexer chooses which of them a token attends to, which cannot "
        "be exported"
    )
    return replace(decoder, max_positions=num_chosen, max_positions_reason=reason)


FAMILY = Family(
    architectures=("DeepseekV32ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=deepseek_weights,
    defaults={**DEEPSEEK_V3_DEFAULTS, "index_topk": 2048},
    ignored=(
        r"^model\.layers\.61\.",  # predicts the token after the next; decoding does without
        r"\.self_attn\.indexer\.",
    ),
)
