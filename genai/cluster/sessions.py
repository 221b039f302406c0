"""Which conversation a request belongs to: all its turns go to the replica whose cache holds what was said before.

A client may say it, in a header. Else it is how the conversation begins, which every turn repeats: the model, all up to the first
message of the user, or the beginning of a text. The key is a hash, so that nothing of the texts is in Ray's logs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from genai.wire import CompletionRequest

__all__ = ["SESSION_HEADER", "session_of"]

SESSION_HEADER = "x-session-id"
_TEXT_LENGTH, _NUM_TOKENS = 1024, 256
"""How much of a text, or of token ids, is its beginning."""


def session_of(given: str | None, request: CompletionRequest | None) -> str:
    """Return the key of a request's session; "" where it has none, and any replica is as good.

    Args:
        given: What the client says.
        request: What it asks for, if that is a text.
    """
    if given:
        return _hash(["given", given])
    if request is None or not request.prompts:
        return ""
    prompt = request.prompts[0]
    beginning: Any = str(prompt.get("prompt", ""))[:_TEXT_LENGTH]
    if "messages" in prompt:
        beginning = _until_first_question(prompt["messages"])
    elif "token_ids" in prompt:
        beginning = list(prompt["token_ids"][:_NUM_TOKENS])
    return _hash([request.model, beginning])


def _until_first_question(messages: Sequence[Any]) -> list[Any]:
    beginning = []
    for message in messages:
        beginning.append(message)
        role = message.get("role") if isinstance(message, Mapping) else message.role
        if role == "user":
            break
    return beginning


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()
