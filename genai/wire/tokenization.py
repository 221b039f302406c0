"""Texts as tokens and back, in the bodies that vLLM's server has for them (/tokenize, /detokenize)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.wire.fields import BodyError, are_tokens, body_fields, refuse_rest, take
from genai.wire.openai.requests import conversation
from genai.wire.openai.schemas import conversation_fields
from genai.wire.schemas import COUNT, TEXT, Schema, body_schema, label_fields, list_of, object_of

__all__ = [
    "DETOKENIZE",
    "DETOKENIZED",
    "TOKENIZE",
    "TOKENIZED",
    "TokenizeRequest",
    "read_detokenize_request",
    "read_tokenize_request",
]

_TOKENS = list_of(COUNT, minItems=1)
_COMMON: Mapping[str, Schema] = {"model": TEXT, **label_fields()}
TOKENIZE: Schema = {
    "anyOf": [
        body_schema({"prompt": TEXT, **_COMMON}, required=["prompt"]),
        body_schema({**conversation_fields(), **_COMMON}, required=["messages"]),
    ]
}
TOKENIZED: Schema = object_of({"tokens": list_of(COUNT), "count": COUNT, "max_model_len": COUNT})
DETOKENIZE: Schema = body_schema({"tokens": _TOKENS, **_COMMON}, required=["tokens"])
DETOKENIZED: Schema = object_of({"prompt": TEXT})


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
        raise BodyError("tokens must be a list of integers from 0 up that is not empty", "tokens")
    refuse_rest(fields, known=("model", "tokens"))
    return model, tokens
