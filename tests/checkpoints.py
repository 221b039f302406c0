"""Tiny random Hugging Face checkpoints of every family, with a tokenizer, made by transformers itself.

Shapes are odd on purpose: a head is not hidden_size / num_heads wide, the vocabulary is no multiple of 32, and no
width is a multiple of every block size.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE = 331
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_COMMON: Mapping[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 48,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.15,
}

_GEMMA: Mapping[str, Any] = {
    **_COMMON,
    "head_dim": 16,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 12,
    "sliding_window": 12,
    "num_hidden_layers": 3,
}

_CONFIGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("LlamaConfig", {**_COMMON, "head_dim": 16}),
    "mistral": ("MistralConfig", {**_COMMON, "head_dim": 32, "num_key_value_heads": 1, "sliding_window": 12}),
    "qwen2": ("Qwen2Config", {**_COMMON, "hidden_size": 64, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {**_COMMON, "head_dim": 32, "tie_word_embeddings": True}),
    "phi3": ("Phi3Config", {**_COMMON, "hidden_size": 128, "partial_rotary_factor": 0.5}),
    "phi": ("PhiConfig", {**_COMMON, "hidden_size": 128, "partial_rotary_factor": 0.5}),
    "gemma2": ("Gemma2Config", {**_GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}),
    "gemma3_text": ("Gemma3TextConfig", {**_GEMMA, "sliding_window_pattern": 2}),
    "gpt2": ("GPT2Config", {**_COMMON, "hidden_size": 64, "n_inner": 88}),
}

FAMILIES = tuple(sorted(_CONFIGS))


def make_config(family: str, **overrides: Any) -> transformers.PretrainedConfig:
    """Return the tiny config of a family, with these values changed."""
    class_name, values = _CONFIGS[family]
    return getattr(transformers, class_name)(**{**values, **overrides})


def make_checkpoint(
    family: str,
    path: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "5GB",
    **config_overrides: Any,
) -> Path:
    """Save a random checkpoint of a family with its tokenizer, and return its folder."""
    config = make_config(family, **config_overrides)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter is model.get_input_embeddings().weight and config.tie_word_embeddings:
                parameter.mul_(0.3)  # or every token would predict itself
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2)
            elif parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.to(dtype).save_pretrained(path, max_shard_size=max_shard_size)
    make_tokenizer().save_pretrained(path)
    return path


def load_reference(path: Path) -> transformers.PreTrainedModel:
    """Return the checkpoint as transformers computes it, in float32."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@cache
def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer of at most `VOCAB_SIZE` tokens with a ChatML template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - 8,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 3] * 3, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[2],
        pad_token=SPECIAL_TOKENS[0],
        chat_template=CHAT_TEMPLATE,
    )
