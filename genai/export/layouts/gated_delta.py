"""What families with linear attention by the gated delta rule share, whose projections are all stored by themselves."""

from __future__ import annotations

from genai.export.architecture import GatedDeltaSpec, NormSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Flat, WeightMap

__all__ = ["gated_delta_weights", "kimi_delta"]


def gated_delta_weights(module: str) -> WeightMap:
    """Return the names of the weights of linear attention, but for those of its decays and gates."""
    return {
        **{f"delta.{name}": f"{module}.{name}_proj" for name in ("q", "k", "v")},
        **{f"delta.{name}_filter": f"{module}.{name}_conv1d" for name in ("q", "k", "v")},
        "delta.beta": f"{module}.b_proj",
        "delta.decay_rates": Flat(f"{module}.A_log"),
        "delta.decay_bias": f"{module}.dt_bias",
        "delta.norm": f"{module}.o_norm",
        "delta.output": f"{module}.o_proj",
    }


def kimi_delta(config: ModelConfig, *, num_heads: int, head_dim: int, conv_width: int) -> GatedDeltaSpec:
    """Return Kimi's delta attention, with decays and gates that are projected at once."""
    config.choice("hidden_act", ("silu", "swish"), "silu")  # it is also the convolution's
    return GatedDeltaSpec(
        num_key_heads=num_heads,
        num_value_heads=num_heads,
        key_dim=head_dim,
        value_dim=head_dim,
        conv_width=conv_width,
        norm=NormSpec("rms", config.number("rms_norm_eps")),
        decays_over="key",
        gate_activation="sigmoid",
    )
