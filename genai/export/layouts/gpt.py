"""What decoders in GPT-2's manner share: feed-forward blocks without a gate."""

from __future__ import annotations

from genai.export.architecture import ACTIVATIONS, MlpSpec
from genai.export.checkpoint.model_config import ModelConfig

__all__ = ["gpt_mlp"]


def gpt_mlp(
    config: ModelConfig,
    *,
    size_key: str = "intermediate_size",
    default_size: int | None = None,
    activation_key: str = "hidden_act",
    bias: bool = True,
) -> MlpSpec:
    """Return a feed-forward block without a gate; without a default the key of its size is required."""
    return MlpSpec(
        intermediate_size=config.integer(size_key, default_size),
        activation=ACTIVATIONS[config.choice(activation_key, ACTIVATIONS)],
        gated=False,
        bias=bias,
    )
