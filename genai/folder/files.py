"""The names of a model folder's small files, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genai.errors import ModelFolderError

__all__ = [
    "ADAPTERS_FOLDER",
    "ADAPTER_SUFFIX",
    "ADDED_TOKENS_FILE",
    "CONFIG_FILE",
    "GENERATION_CONFIG_FILE",
    "HF_CONFIG_FILE",
    "LEGACY_TEMPLATE_FILE",
    "MANIFEST_FILE",
    "OPTIMIZER_CONFIG_FILE",
    "OTHER_TOKENIZER_FILES",
    "SPECIAL_TOKENS_FILE",
    "TEMPLATE_FILE",
    "TEMPLATE_FOLDER",
    "TEXT_FILES",
    "TOKENIZER_CONFIG_FILE",
    "TOKENIZER_FILE",
    "is_adapter_file",
    "is_text_file",
    "read_json",
]

CONFIG_FILE = "genai_config.json"
MANIFEST_FILE = "manifest.json"
GENERATION_CONFIG_FILE = "generation_config.json"
HF_CONFIG_FILE = "config.json"
OPTIMIZER_CONFIG_FILE = "hf_quant_config.json"
"""Where NVIDIA's Model Optimizer says how it quantized a checkpoint."""

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
TEMPLATE_FILE = "chat_template.jinja"
LEGACY_TEMPLATE_FILE = "chat_template.json"

OTHER_TOKENIZER_FILES = (
    "merges.txt",
    "spiece.model",
    "tekken.json",
    "tiktoken.model",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
"""Tokenizers in other formats than genai reads; other programs may want them."""

TEXT_FILES = (
    *(TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE),
    *(TEMPLATE_FILE, LEGACY_TEMPLATE_FILE),
    *OTHER_TOKENIZER_FILES,
)
"""What a tokenizer and its chat template may consist of; no folder has all of them."""

ADAPTERS_FOLDER, ADAPTER_SUFFIX = "adapters", ".safetensors"
"""The folder of low-rank adapters, and how the file of each ends; it begins with the adapter's name."""

TEMPLATE_FOLDER = "additional_chat_templates"
"""The folder of further chat templates, `<name>.jinja`."""


def is_text_file(name: str) -> bool:
    """Whether a file of a folder, by its path in there, says how text is made: tokenizer, template, or defaults.

    >>> is_text_file("tokenizer.json"), is_text_file(f"{TEMPLATE_FOLDER}/rag.jinja"), is_text_file("config.json")
    (True, True, False)
    """
    folder, _, file = name.rpartition("/")
    if folder:
        return folder == TEMPLATE_FOLDER and file.endswith(".jinja")
    return file in TEXT_FILES or file == GENERATION_CONFIG_FILE


def is_adapter_file(name: str) -> bool:
    """Whether a file of a folder, by its path in there, is an adapter.

    >>> is_adapter_file("adapters/sql.safetensors"), is_adapter_file("model.safetensors")
    (True, False)
    """
    folder, _, file = name.rpartition("/")
    return folder == ADAPTERS_FOLDER and file.endswith(ADAPTER_SUFFIX)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ModelFolderError: It is missing, or not that.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFolderError(
            f"{path.parent}: {path.name} is missing; this is not a model folder"
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFolderError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise ModelFolderError(f"{path}: must hold a JSON object, not a {type(values).__name__}")
    return values
