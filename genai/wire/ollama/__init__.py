"""Ollama's bodies (https://docs.ollama.com/api): what its clients send, and what they expect."""

from __future__ import annotations

from genai.wire.ollama.answers import OllamaAnswer
from genai.wire.ollama.embeddings import OllamaEmbedRequest, read_ollama_embed_request
from genai.wire.ollama.errors import error_body
from genai.wire.ollama.models import ModelFacts, loaded_body, read_show_request, show_body, tag_body
from genai.wire.ollama.schemas import (
    EMBED,
    EMBEDDED,
    ERROR,
    LOADED,
    OLD_EMBED,
    OLD_EMBEDDED,
    SHOW,
    SHOWN,
    TAGS,
    VERSION,
    ollama_chat_schemas,
    ollama_generate_schemas,
)

__all__ = [
    "EMBED",
    "EMBEDDED",
    "ERROR",
    "LOADED",
    "OLD_EMBED",
    "OLD_EMBEDDED",
    "SHOW",
    "SHOWN",
    "TAGS",
    "VERSION",
    "ModelFacts",
    "OllamaAnswer",
    "OllamaEmbedRequest",
    "error_body",
    "loaded_body",
    "ollama_chat_schemas",
    "ollama_generate_schemas",
    "read_ollama_embed_request",
    "read_show_request",
    "show_body",
    "tag_body",
]
