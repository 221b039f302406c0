"""Anthropic's bodies (https://docs.anthropic.com/en/api/messages): what its clients send, and what they expect."""

from __future__ import annotations

from genai.wire.anthropic.errors import error_body
from genai.wire.anthropic.messages import AnthropicMessages
from genai.wire.anthropic.requests import read_count_request

__all__ = ["AnthropicMessages", "error_body", "read_count_request"]
