"""The interfaces that there are: the path of each, what reads its bodies, and what tells its clients of an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genai.errors import GenaiError
from genai.wire import anthropic, ollama, openai
from genai.wire.anthropic import AnthropicMessages, messages_schemas
from genai.wire.exchange import Exchange
from genai.wire.ollama import OllamaAnswer, ollama_chat_schemas, ollama_generate_schemas
from genai.wire.openai import Completion, ModelResponse, chat_schemas, responses_schemas, text_schemas
from genai.wire.schemas import Schemas

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "INTERFACES",
    "MESSAGES",
    "OLLAMA",
    "RESPONSES",
    "Interface",
    "Operation",
    "error_body_for",
    "read_body",
]

CHAT, COMPLETIONS, RESPONSES, MESSAGES = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
)
OLLAMA = "/api"
"""What all paths of Ollama's interface begin with."""
OLLAMA_CHAT, OLLAMA_GENERATE = f"{OLLAMA}/chat", f"{OLLAMA}/generate"


Operation = Literal["chat", "text_completion"]
"""What is done with a prompt (https://opentelemetry.io/docs/specs/semconv/gen-ai): a conversation is answered, or a text continued."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One way of asking for texts.

    Args:
        operation: What it does, as the conventions of OpenTelemetry call it.
        summary: What it does, in a few words.
        read: Reads a body; raises `BodyError` where a field is not what it should be.
        schemas: Returns what describes its bodies to programs.
    """

    operation: Operation
    summary: str
    read: Callable[[Any], Exchange]
    schemas: Callable[[], Schemas]


INTERFACES: Mapping[str, Interface] = {
    CHAT: Interface("chat", "Answer a conversation.", Completion.read_chat, chat_schemas),
    COMPLETIONS: Interface("text_completion", "Continue texts.", Completion.read_text, text_schemas),
    MESSAGES: Interface(
        "chat", "Answer a conversation, as Anthropic's servers do.", AnthropicMessages.read, messages_schemas
    ),
    RESPONSES: Interface("chat", "Answer a conversation in items.", ModelResponse.read, responses_schemas),
    OLLAMA_CHAT: Interface(
        "chat", "Answer a conversation, as Ollama does.", OllamaAnswer.read_chat, ollama_chat_schemas
    ),
    OLLAMA_GENERATE: Interface(
        "text_completion",
        "Answer a prompt, as Ollama does.",
        OllamaAnswer.read_generate,
        ollama_generate_schemas,
    ),
}
"""By the path of its requests."""

_ERROR_BODIES: Mapping[str, Callable[[GenaiError], dict[str, Any]]] = {
    MESSAGES: anthropic.error_body,
    OLLAMA: ollama.error_body,
}
"""How each maker's clients are told of errors, by what the paths begin with that are not OpenAI's."""


def read_body(path: str, body: Any) -> Exchange:
    """Read the body of a request to one of `INTERFACES`.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be.
    """
    return INTERFACES[path].read(body)


def error_body_for(path: str, error: GenaiError) -> dict[str, Any]:
    """Return the body that reports an error to who asked at a path, which need not be an interface's."""
    for beginning, body in _ERROR_BODIES.items():
        if path == beginning or path.startswith(f"{beginning}/"):
            return body(error)
    return openai.error_body(error)
