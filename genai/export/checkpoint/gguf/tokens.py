"""The ids of special tokens in the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from genai.errors import CheckpointError
from genai.export.checkpoint.model_config import ModelConfig

__all__ = ["token_ids"]

_CONTROL, _USER_DEFINED = 3, 4

_ENDS = ("eos", "eot", "eom")
"""What ends an answer: the end of the text, of a turn, of a message."""

_NAMED_ENDS = frozenset(
    {
        *("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>"),
        *("<turn|>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "<end_of_utterance>", "<eos>", "</s>"),
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
    }
)
"""Tokens that end an answer wherever they are special, for files that name only one end (as llama.cpp has it)."""

_HARMONY = frozenset({"<|return|>", "<|call|>", "<|end|>"})
"""Where all these are special, "<|end|>" ends a message within an answer (gpt-oss)."""


def token_ids(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformers' `bos_token_id`, `eos_token_id` and `pad_token_id`, as far as they are told.

    Several tokens that end an answer are a list, the end of the text first.

    Raises:
        CheckpointError: One is no token.
    """
    ends = [found for name in _ENDS if (found := _read(metadata, name)) is not None]
    ends = list(dict.fromkeys([*ends, *_named_ends(metadata)]))
    ids: dict[str, Any] = {
        "bos_token_id": _read(metadata, "bos"),
        "eos_token_id": (ends if len(ends) > 1 else ends[0]) if ends else None,
        "pad_token_id": _read(metadata, "padding"),
    }
    return {key: value for key, value in ids.items() if value is not None}


def _read(metadata: Mapping[str, Any], name: str) -> int | None:
    key = f"tokenizer.ggml.{name}_token_id"
    if key not in metadata:
        return None
    token_id = ModelConfig(metadata, "GGUF metadata").integer(key, minimum=0)
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, list) and token_id >= len(tokens):
        raise CheckpointError(f"GGUF metadata: {key} is {token_id}, and there are {len(tokens)} tokens")
    return token_id


def _named_ends(metadata: Mapping[str, Any]) -> list[int]:
    tokens, types = metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list) or not isinstance(types, np.ndarray) or len(types) != len(tokens):
        return []
    are_special = np.isin(types, (_CONTROL, _USER_DEFINED)).nonzero()[0]
    found = {tokens[index]: int(index) for index in are_special if tokens[index] in _NAMED_ENDS}
    if found.keys() >= _HARMONY:
        del found["<|end|>"]
    return list(found.values())
