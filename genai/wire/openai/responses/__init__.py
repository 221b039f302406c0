"""OpenAI's Responses (https://platform.openai.com/docs/api-reference/responses), of which nothing is stored."""

from __future__ import annotations

from genai.wire.openai.responses.model_response import ModelResponse
from genai.wire.openai.responses.schemas import responses_schemas

__all__ = ["ModelResponse", "responses_schemas"]
