"""OpenAI's bodies as JSON schemas: options of a generation from their definitions, and what is the interface's own."""

from __future__ import annotations

import functools
from typing import Any, get_args

from genai.config import option_schemas
from genai.config.messages import SPEAKERS
from genai.embedding import Pooling
from genai.wire.framing import EVENTS
from genai.wire.messages import TAKEN_ROLES
from genai.wire.openai.reasoning import EFFORTS
from genai.wire.openai.requests import USUAL_OF_CHATS, USUAL_OF_TEXTS
from genai.wire.openai.shared_fields import RENAMED
from genai.wire.schemas import (
    COUNT,
    FLAG,
    TEXT,
    Schema,
    Schemas,
    body_schema,
    label_fields,
    list_of,
    nullable,
    object_of,
    usual_fields,
)

__all__ = [
    "EMBEDDING",
    "EMBEDDINGS",
    "ERROR",
    "MODEL",
    "MODELS",
    "chat_schemas",
    "conversation_fields",
    "text_schemas",
]

_LOGPROB: Schema = {"type": "number", "maximum": 0}
_MODEL_NAME: Schema = {**TEXT, "description": "One of GET /v1/models; the first if it is left out."}
_TOKENS: Schema = list_of(COUNT, minItems=1)


ERROR: Schema = object_of(
    {"error": object_of({"message": TEXT, "type": TEXT, "param": nullable(TEXT), "code": nullable(TEXT)})}
)
MODEL: Schema = object_of(
    {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT},
)
MODELS: Schema = object_of({"object": {"const": "list"}, "data": list_of(MODEL)})
EMBEDDING: Schema = body_schema(
    {
        "input": {"anyOf": [TEXT, list_of(TEXT, minItems=1), _TOKENS, list_of(_TOKENS, minItems=1)]},
        "dimensions": {"not": {}, "description": "A model's vectors have no shorter form."},
        "model": _MODEL_NAME,
        "encoding_format": {"enum": ["float", "base64"]},
        "pooling": {"enum": list(get_args(Pooling))},
        "normalize": FLAG,
        **label_fields(),
    },
    required=["input"],
)
EMBEDDINGS: Schema = object_of(
    {
        "object": {"const": "list"},
        "data": list_of(
            object_of(
                {
                    "object": {"const": "embedding"},
                    "index": COUNT,
                    "embedding": {"anyOf": [list_of({"type": "number"}), TEXT]},
                }
            )
        ),
        "model": TEXT,
        "usage": object_of({"prompt_tokens": COUNT, "total_tokens": COUNT}),
    }
)


def conversation_fields() -> dict[str, Schema]:
    """Return the fields that say a conversation."""
    part = {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": TEXT},
        "required": ["type", "text"],
    }
    content: Schema = {"anyOf": [TEXT, list_of(part)]}
    calls = {"tool_calls": nullable(list_of({"type": "object"}))}
    speaking = {"role": {"enum": list(SPEAKERS)}, "content": content, **calls}
    other = {
        "role": {"enum": [role for role in TAKEN_ROLES if role not in SPEAKERS]},
        "content": nullable(content),
        **calls,
    }
    message = {
        "anyOf": [
            {"type": "object", "properties": speaking, "required": ["role", "content"]},
            {"type": "object", "properties": other, "required": ["role"]},
        ]
    }
    return {
        "messages": list_of(message, minItems=1),
        "tools": list_of({"type": "object", "description": "A function that the model may call."}),
        "parallel_tool_calls": FLAG,
        "tool_choice": {
            "anyOf": [TEXT, {"type": "object"}],
            "description": "none, auto, required, or the function to call.",
        },
        "chat_template_kwargs": {
            "type": "object",
            "description": "Further variables of the model's chat template.",
        },
        "continue_final_message": {
            **FLAG,
            "description": "Whether the last message is the beginning of the answer.",
        },
        "add_generation_prompt": {**FLAG, "description": "Whether the prompt ends where an answer begins."},
    }


def _common_fields() -> dict[str, Schema]:
    """Return the fields that chat completions and completions share."""
    options = option_schemas()
    return {
        "model": _MODEL_NAME,
        "stream": {**FLAG, "description": "Whether the answer comes as events."},
        "stream_options": object_of({"include_usage": FLAG}, optional=["include_usage"]),
        **options,
        **{name: options[option] for name, option in RENAMED.items()},
        "priority": {"type": "integer", "description": "Lower goes first."},
        **label_fields(),
    }


@functools.cache
def chat_schemas() -> Schemas:
    """Return those of chat completions."""
    fields = {
        **_common_fields(),
        **conversation_fields(),
        **usual_fields(USUAL_OF_CHATS),
        "logprobs": {**FLAG, "description": "Whether the tokens' log-probabilities are wanted."},
        "reasoning_effort": {"enum": list(EFFORTS)},
        "include_reasoning": FLAG,
        "reasoning": {"type": "object", "description": "OpenRouter's effort, enabled, exclude, max_tokens."},
    }
    body = body_schema(fields, required=["messages"])
    message = object_of(
        {
            "role": {"const": "assistant"},
            "content": nullable(TEXT),
            "refusal": {"type": "null"},
            "reasoning": TEXT,
            "tool_calls": list_of(_call({})),
        },
        optional=["reasoning", "tool_calls"],
    )
    delta = object_of(
        {
            "role": {"const": "assistant"},
            "content": TEXT,
            "reasoning": TEXT,
            "tool_calls": list_of(_call({"index": COUNT})),
        },
        optional=["role", "content", "reasoning", "tool_calls"],
    )
    reasons = ["stop", "length", "cancelled", "tool_calls"]
    logprobs = nullable(object_of({"content": list_of(_chat_logprob())}))
    return Schemas(
        body,
        _answer("chat.completion", {"message": message}, reasons, logprobs),
        _event("chat.completion.chunk", {"delta": delta}, reasons, logprobs),
        EVENTS,
        ERROR,
    )


@functools.cache
def text_schemas() -> Schemas:
    """Return those of completions."""
    most = {**option_schemas()["max_new_tokens"], "minimum": 0}  # of a prompt that is only scored
    fields = {
        **_common_fields(),
        **usual_fields(USUAL_OF_TEXTS),
        **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_new_tokens"), most),
        "prompt": {"anyOf": [TEXT, _TOKENS, list_of({"anyOf": [TEXT, _TOKENS]}, minItems=1)]},
        "logprobs": {
            **option_schemas()["top_logprobs"],
            "description": "How many alternatives of each token are wanted.",
        },
    }
    body = body_schema(fields, required=["prompt"])
    reasons = ["stop", "length", "cancelled"]
    return Schemas(
        body,
        _answer("text_completion", {"text": TEXT}, reasons, nullable(_text_logprobs())),
        _event("text_completion", {"text": TEXT}, reasons, nullable(_text_logprobs())),
        EVENTS,
        ERROR,
    )


def _answer(kind: str, entry: dict[str, Schema], reasons: list[str], logprobs: Schema) -> dict[str, Any]:
    choice = object_of(
        {
            "index": COUNT,
            **entry,
            "finish_reason": {"enum": reasons},
            "logprobs": logprobs,
            "prompt_logprobs": _prompt_logprobs(),
        },
        optional=["prompt_logprobs"],
    )
    return object_of(
        {**_head(kind), "choices": list_of(choice), "usage": _usage(), "prompt_logprobs": _prompt_logprobs()},
        optional=["prompt_logprobs"],
    )


def _event(kind: str, entry: dict[str, Schema], reasons: list[str], logprobs: Schema) -> dict[str, Any]:
    choice = object_of(
        {
            "index": COUNT,
            **entry,
            "finish_reason": nullable({"enum": reasons}),
            "logprobs": logprobs,
        },
        optional=["logprobs"],
    )
    chunk = object_of(
        {**_head(kind), "choices": list_of(choice), "usage": nullable(_usage())}, optional=["usage"]
    )
    return {"anyOf": [chunk, ERROR]}


def _head(kind: str) -> dict[str, Schema]:
    return {"id": TEXT, "object": {"const": kind}, "created": COUNT, "model": TEXT}


def _usage() -> dict[str, Any]:
    details = object_of({"cached_tokens": COUNT})
    counts = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), COUNT)
    return object_of({**counts, "prompt_tokens_details": details})


def _call(more: dict[str, Schema]) -> dict[str, Any]:
    function = object_of({"name": TEXT, "arguments": TEXT})
    return object_of({**more, "id": TEXT, "type": {"const": "function"}, "function": function})


def _chat_logprob() -> dict[str, Any]:
    token = {"token": TEXT, "logprob": _LOGPROB, "bytes": nullable(list_of(COUNT))}
    return object_of({**token, "top_logprobs": list_of(object_of(token))})


def _text_logprobs() -> dict[str, Any]:
    return object_of(
        {
            "tokens": list_of(TEXT),
            "token_logprobs": list_of(nullable(_LOGPROB)),
            "top_logprobs": list_of({"type": ["object", "null"], "additionalProperties": _LOGPROB}),
            "text_offset": list_of(COUNT),
        }
    )


def _prompt_logprobs() -> dict[str, Any]:
    """Return the schema of vLLM's form of them: by token id."""
    entry = object_of({"logprob": _LOGPROB, "rank": nullable(COUNT), "decoded_token": TEXT})
    return list_of({"type": ["object", "null"], "additionalProperties": entry})
