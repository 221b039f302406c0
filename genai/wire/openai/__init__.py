"""OpenAI's bodies (https://platform.openai.com/docs/api-reference): what its clients send, and what they expect."""

from __future__ import annotations

from genai.wire.openai.answers import model_body
from genai.wire.openai.completions import Completion
from genai.wire.openai.embeddings import EmbeddingRequest, embedding_body, read_embedding_request
from genai.wire.openai.errors import error_body
from genai.wire.openai.responses import ModelResponse

__all__ = [
    "Completion",
    "EmbeddingRequest",
    "ModelResponse",
    "embedding_body",
    "error_body",
    "model_body",
    "read_embedding_request",
]
