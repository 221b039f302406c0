"""What other programs send and expect: OpenAI's request and response bodies, as plain JSON values.

Knows options and results, and neither files nor sockets: `genai batch` reads bodies from files, a server from the network.
"""

from __future__ import annotations

from genai.wire.fields import BodyError
from genai.wire.openai_embeddings import EMBEDDINGS, EmbeddingRequest, embedding_body, read_embedding_request
from genai.wire.openai_requests import CHAT, COMPLETIONS, ENDPOINTS, CompletionRequest, read_request
from genai.wire.openai_responses import completion_body, error_body, is_callers_fault, model_body
from genai.wire.openai_stream import CompletionChunks
from genai.wire.tokenization import (
    DETOKENIZE,
    TOKENIZE,
    TokenizeRequest,
    read_detokenize_request,
    read_tokenize_request,
)

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "DETOKENIZE",
    "EMBEDDINGS",
    "ENDPOINTS",
    "TOKENIZE",
    "BodyError",
    "CompletionChunks",
    "CompletionRequest",
    "EmbeddingRequest",
    "TokenizeRequest",
    "completion_body",
    "embedding_body",
    "error_body",
    "is_callers_fault",
    "model_body",
    "read_detokenize_request",
    "read_embedding_request",
    "read_request",
    "read_tokenize_request",
]
