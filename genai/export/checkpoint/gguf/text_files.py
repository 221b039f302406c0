"""The files of a model folder that say how text is made, written from a GGUF file's metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from genai.export.checkpoint.gguf.tokenizer import Vocabulary, tokenizer_json
from genai.export.checkpoint.gguf.tokens import token_ids
from genai.folder.files import (
    GENERATION_CONFIG_FILE,
    TEMPLATE_FILE,
    TEMPLATE_FOLDER,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
)

__all__ = ["text_files"]

_TEMPLATE = "tokenizer.chat_template"
_TEMPLATE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAMES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
_SAMPLING = {"temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
_SAMPLING |= {"penalty_repeat": "repetition_penalty"}


def text_files(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the content of each file by its name.

    Raises:
        CheckpointError: The tokenizer is incomplete.
        UnsupportedModelError: It is of a kind that is not known.
    """
    vocabulary = Vocabulary.of(metadata)
    return {
        TOKENIZER_FILE: json.dumps(tokenizer_json(vocabulary), ensure_ascii=False),
        TOKENIZER_CONFIG_FILE: _dump(_tokenizer_config(vocabulary)),
        GENERATION_CONFIG_FILE: _dump(_generation_config(metadata)),
        **_templates(metadata),
    }


def _tokenizer_config(vocabulary: Vocabulary) -> dict[str, Any]:
    tokens = {name: vocabulary.token(stored) for name, stored in _NAMES.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": vocabulary.adds_bos,
        "add_eos_token": vocabulary.adds_eos,
        "clean_up_tokenization_spaces": False,
        **{name: token for name, token in tokens.items() if token is not None},
    }


def _generation_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Ids, and how the model's authors want it sampled, where the file says so."""
    stored = {name: metadata.get(f"general.sampling.{key}") for key, name in _SAMPLING.items()}
    sampling = {
        name: value
        for name, value in stored.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    }
    return token_ids(metadata) | ({"do_sample": True} | sampling if "temperature" in sampling else {})


def _templates(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The chat template, and further ones by name."""
    found: dict[str, str] = {}
    for key, source in metadata.items():
        if key == _TEMPLATE and isinstance(source, str):
            found[TEMPLATE_FILE] = source
        elif key.startswith(f"{_TEMPLATE}.") and isinstance(source, str):
            name = key[len(_TEMPLATE) + 1 :]
            if _TEMPLATE_NAME.fullmatch(name):
                found[f"{TEMPLATE_FOLDER}/{name}.jinja"] = source
    return found


def _dump(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
