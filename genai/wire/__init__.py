"""What other programs send and expect: OpenAI's request and response bodies, as plain JSON values.

Knows options and results, and neither files nor sockets: `genai batch` reads bodies from files, a server from the network.
"""

from __future__ import annotations

from genai.wire.openai_requests import ENDPOINTS, BodyError, CompletionRequest, read_request
from genai.wire.openai_responses import completion_body, error_body, is_callers_fault

__all__ = [
    "ENDPOINTS",
    "BodyError",
    "CompletionRequest",
    "completion_body",
    "error_body",
    "is_callers_fault",
    "read_request",
]
