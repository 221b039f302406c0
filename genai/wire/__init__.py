"""What other programs send and expect: request and response bodies as plain JSON values, one package for each maker's.

Knows options and results, and neither files nor sockets: `genai batch` reads bodies from files, a server from the network.
"""

from __future__ import annotations

from genai.wire.anthropic import COUNTED, count_schema, read_count_request
from genai.wire.errors import ApiError, status_of
from genai.wire.exchange import AnswerEvents, AnswerFacts, CompletionRequest, Event, Exchange
from genai.wire.fields import BodyError
from genai.wire.framing import LINES, Framing
from genai.wire.interfaces import (
    CHAT,
    COMPLETIONS,
    INTERFACES,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    Interface,
    Operation,
    error_body_for,
    read_body,
)
from genai.wire.ollama import (
    ModelFacts,
    OllamaEmbedRequest,
    loaded_body,
    read_ollama_embed_request,
    read_show_request,
    show_body,
    tag_body,
)
from genai.wire.openai import (
    EMBEDDING,
    EMBEDDINGS,
    ERROR,
    MODEL,
    MODELS,
    EmbeddingRequest,
    embedding_body,
    error_body,
    model_body,
    read_embedding_request,
)
from genai.wire.schemas import TEXT, Schema, Schemas, list_of, object_of
from genai.wire.tokenization import (
    DETOKENIZE,
    DETOKENIZED,
    TOKENIZE,
    TOKENIZED,
    TokenizeRequest,
    read_detokenize_request,
    read_tokenize_request,
)

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "COUNTED",
    "DETOKENIZE",
    "DETOKENIZED",
    "EMBEDDING",
    "EMBEDDINGS",
    "ERROR",
    "INTERFACES",
    "LINES",
    "MESSAGES",
    "MODEL",
    "MODELS",
    "OLLAMA",
    "RESPONSES",
    "TEXT",
    "TOKENIZE",
    "TOKENIZED",
    "AnswerEvents",
    "AnswerFacts",
    "ApiError",
    "BodyError",
    "CompletionRequest",
    "EmbeddingRequest",
    "Event",
    "Exchange",
    "Framing",
    "Interface",
    "ModelFacts",
    "OllamaEmbedRequest",
    "Operation",
    "Schema",
    "Schemas",
    "TokenizeRequest",
    "count_schema",
    "embedding_body",
    "error_body",
    "error_body_for",
    "list_of",
    "loaded_body",
    "model_body",
    "object_of",
    "read_body",
    "read_count_request",
    "read_detokenize_request",
    "read_embedding_request",
    "read_ollama_embed_request",
    "read_show_request",
    "read_tokenize_request",
    "show_body",
    "status_of",
    "tag_body",
]
