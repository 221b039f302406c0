"""Texts as tokens and back, in the bodies that vLLM's server has for them (/tokenize, /detokenize)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.wire.fields import BodyError, are_tokens, body_fields, refuse_rest, take
from genai.wire.openai.requests import conversation

__all__ = ["TokenizeRequest", "read_detokenize_request", "read_tokenize_request"]


@dataclass(frozen=True, slots=True)
class TokenizeRequest:
    """A body that was read.

    Args:
        model: The model that it names.
        prompt: What is wanted as tokens, as keyword arguments of `Generator.build_request`.
    """

    model: str | None
    prompt: Mapping[str, Any]


def read_tokenize_request(body: Any) -> TokenizeRequest:
    """Read the body of a request for the tokens of a text (`prompt`) or of a conversation (`messages`, `tools`, ...).

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be.
    """
    fields = body_fields(body)
    model = take(fields, "model", str, None)
    text = take(fields, "prompt", str, None)
    if (text is None) == ("messages" not in fields):
        raise BodyError("one of prompt and messages is needed", "prompt")
    prompt = conversation(fields) if text is None else {"prompt": text}
    refuse_rest(fields, known=("model", "prompt", "messages", "tools", "chat_template_kwargs"))
    return TokenizeRequest(model, prompt)


def read_detokenize_request(body: Any) -> tuple[str | None, list[int]]:
    """Return the model that a request names, and the tokens that it wants as a text.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be.
    """
    fields = body_fields(body)
    model = take(fields, "model", str, None)
    tokens = fields.pop("tokens", None)
    if not are_tokens(tokens):
        raise BodyError("tokens must be a list of integers that is not empty", "tokens")
    refuse_rest(fields, known=("model", "tokens"))
    return model, tokens
