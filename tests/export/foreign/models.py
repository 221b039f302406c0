"""Tiny random checkpoints of families that transformers knows and genai may not, with a tokenizer.

Heads are 16 wide, which attention with a shared cache can do, but for persimmon's, which are 12 wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.checkpoints import VOCAB_SIZE, make_tokenizer

_COMMON: Mapping[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.15,
}
_GPT: Mapping[str, Any] = {**_COMMON, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
_CONFIGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "biogpt": ("BioGptConfig", _COMMON),
    "codegen": ("CodeGenConfig", {**_GPT, "rotary_dim": 8}),
    "gpt_bigcode": ("GPTBigCodeConfig", _GPT),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            **_COMMON,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 7,
        },
    ),
    "mpt": (
        "MptConfig",
        {
            "vocab_size": VOCAB_SIZE,
            "d_model": 64,
            "n_layers": 2,
            "n_heads": 4,
            "max_seq_len": 128,
            "eos_token_id": 2,
            "initializer_range": 0.15,
        },
    ),
    "persimmon": ("PersimmonConfig", {**_COMMON, "hidden_size": 48}),
    "xglm": ("XGLMConfig", {**_COMMON, "d_model": 64, "ffn_dim": 88, "num_layers": 2, "attention_heads": 4}),
}

FAMILIES = tuple(sorted(_CONFIGS))

_OTHER_STATES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mamba": ("MambaConfig", _COMMON),
    "recurrent_gemma": ("RecurrentGemmaConfig", _COMMON),
}


def make_foreign_checkpoint(family: str, path: Path, **changes: Any) -> Path:
    """Save a random checkpoint of a family with its tokenizer, and return its folder."""
    class_name, values = {**_CONFIGS, **_OTHER_STATES}[family]
    torch.manual_seed(0)
    config = getattr(transformers, class_name)(**{**values, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
            elif parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


def greedy(model: transformers.PreTrainedModel, token_ids: list[int], num_tokens: int) -> list[int]:
    """Return the most likely continuation, as transformers computes it without a cache."""
    ids = torch.tensor([token_ids])
    for _ in range(num_tokens):
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return ids[0, len(token_ids) :].tolist()
