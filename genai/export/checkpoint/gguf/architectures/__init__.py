"""The architectures of llama.cpp that genai knows, by their names in GGUF files."""

from __future__ import annotations

from collections.abc import Mapping

from genai.errors import UnsupportedModelError, did_you_mean
from genai.export.checkpoint.gguf.architectures import (
    deepseek,
    gemma,
    gemma_n,
    gpt,
    gpt_oss,
    llama,
    phi,
    qwen,
)
from genai.export.checkpoint.gguf.architectures.architecture import Architecture

__all__ = ["KNOWN", "find_architecture"]

_MODULES = (deepseek, gemma, gemma_n, gpt, gpt_oss, llama, phi, qwen)

KNOWN: Mapping[str, Architecture] = {
    name: architecture
    for module in _MODULES
    for architecture in module.ARCHITECTURES
    for name in architecture.names
}

_NO_DECODERS = {
    "clip": "the part of a model that sees images (mmproj); take the language model's own file",
    "bert": "an encoder, which writes no text",
    "nomic-bert": "an encoder, which writes no text",
    "t5": "an encoder with a decoder; genai runs decoders alone",
    "whisper": "a model of speech",
}


def find_architecture(name: str) -> Architecture:
    """Return the architecture of this name.

    Raises:
        UnsupportedModelError: There is none.
    """
    if name in KNOWN:
        return KNOWN[name]
    if name in _NO_DECODERS:
        raise UnsupportedModelError(f'the GGUF file holds "{name}": {_NO_DECODERS[name]}')
    raise UnsupportedModelError(
        f'GGUF files of the architecture "{name}" cannot be read; those of {", ".join(sorted(KNOWN))} can.'
        f"{did_you_mean(name, KNOWN)} Export the checkpoint that the file was made from: the folder or repository with "
        "config.json and safetensors"
    )
