"""GPT-J: attention and feed-forward in parallel, neighbouring dimensions rotated together, a head with a bias."""

from __future__ import annotations

from genai.export.architecture.family import Family
from genai.export.layouts.gpt import GPT_ALIASES, gptj_decoder

__all__ = ["FAMILY"]

FAMILY = Family(
    architectures=("GPTJForCausalLM",),
    model_type="decoder",
    spec=gptj_decoder,
    weights={
        "embedding": "wte",
        "input_norm": "h.{i}.ln_1",
        "attention.q": "h.{i}.attn.q_proj",
        "attention.k": "h.{i}.attn.k_proj",
        "attention.v": "h.{i}.attn.v_proj",
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
)
