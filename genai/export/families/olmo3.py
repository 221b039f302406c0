"""OLMo 3: OLMo 2 with a window on three layers of four, whose rotary embedding is not scaled."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import head_dim_of, llama_attention, sliding_windows
from genai.export.layouts.olmo import OLMO_WEIGHTS, olmo_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    full, local = (
        llama_attention(config, rope=read_rope(config, head_dim=head_dim_of(config), layer_type=layer_type))
        for layer_type in ("full_attention", "sliding_attention")
    )
    windows = sliding_windows(config, is_sliding=lambda index: (index + 1) % 4 != 0)
    return olmo_decoder(
        config, [full if window is None else replace(local, window=window) for window in windows]
    )


FAMILY = Family(
    architectures=("Olmo3ForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights=OLMO_WEIGHTS,
    defaults={"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "sliding_window": 4096},
)
