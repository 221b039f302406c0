"""Anthropic's bodies (https://docs.anthropic.com/en/api/messages): what its clients send, and what they expect."""

from __future__ import annotations

from genai.wire.anthropic.errors import error_body
from genai.wire.anthropic.messages import AnthropicMessages
from genai.wire.anthropic.models import MODEL, MODELS, model_body, models_body
from genai.wire.anthropic.requests import read_count_request
from genai.wire.anthropic.schemas import COUNTED, ERROR, count_schema, messages_schemas

__all__ = [
    "COUNTED",
    "ERROR",
    "MODEL",
    "MODELS",
    "AnthropicMessages",
    "count_schema",
    "error_body",
    "messages_schemas",
    "model_body",
    "models_body",
    "read_count_request",
]
