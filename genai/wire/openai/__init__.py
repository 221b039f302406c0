"""OpenAI's bodies (https://platform.openai.com/docs/api-reference): what its clients send, and what they expect."""

from __future__ import annotations

from genai.wire.openai.answers import model_body
from genai.wire.openai.completions import Completion
from genai.wire.openai.embeddings import EmbeddingRequest, embedding_body, read_embedding_request
from genai.wire.openai.errors import error_body
from genai.wire.openai.responses import ModelResponse, responses_schemas
from genai.wire.openai.schemas import (
    EMBEDDING,
    EMBEDDINGS,
    ERROR,
    MODEL,
    MODELS,
    chat_schemas,
    text_schemas,
)

__all__ = [
    "EMBEDDING",
    "EMBEDDINGS",
    "ERROR",
    "MODEL",
    "MODELS",
    "Completion",
    "EmbeddingRequest",
    "ModelResponse",
    "chat_schemas",
    "embedding_body",
    "error_body",
    "model_body",
    "read_embedding_request",
    "responses_schemas",
    "text_schemas",
]
