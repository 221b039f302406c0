"""CodeGen: GPT-J with queries, values and keys in one projection, cut in four for as many TPU cores."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped
from genai.export.layouts.gpt import GPT_ALIASES, gptj_decoder

__all__ = ["FAMILY"]

_NUM_CORES = 4


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    if config.integer("n_embd") % _NUM_CORES:
        raise config.unsupported("n_embd", f"must be a multiple of {_NUM_CORES}")
    return gptj_decoder(config)


FAMILY = Family(
    architectures=("CodeGenForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        "embedding": "wte",
        "input_norm": "h.{i}.ln_1",
        ("attention.q", "attention.v", "attention.k"): Grouped("h.{i}.attn.qkv_proj", _NUM_CORES),
        "attention.output": "h.{i}.attn.out_proj",
        "mlp.up": "h.{i}.mlp.fc_in",
        "mlp.down": "h.{i}.mlp.fc_out",
        "final_norm": "ln_f",
        "head": "lm_head",
    },
    defaults={
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "rotary_dim": 64,
        "tie_word_embeddings": False,
    },
    aliases=GPT_ALIASES,
    prefixes=("transformer.", ""),
    ignored=(r"\.attn\.causal_mask$",),
)
