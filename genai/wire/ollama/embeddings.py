"""Ollama's requests for vectors of texts: /api/embed, and /api/embeddings, which was before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genai.wire.fields import BodyError, body_fields, refuse_rest, take
from genai.wire.ollama.durations import read_keep_alive

__all__ = ["OllamaEmbedRequest", "read_ollama_embed_request"]


@dataclass(frozen=True, slots=True)
class OllamaEmbedRequest:
    """A body that was read.

    Args:
        model: The model that it names.
        texts: What is wanted as vectors; without any, the model is only loaded.
        is_cut: Whether texts that are too long are cut off, or refused.
        keep_alive: Seconds that the model is to stay; `None` is the server's.
    """

    model: str | None
    texts: Sequence[str]
    is_cut: bool
    keep_alive: float | None


def read_ollama_embed_request(body: Any, *, is_old: bool) -> OllamaEmbedRequest:
    """Read a body; the old ones have one text, the prompt.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be.
    """
    fields = body_fields(body)
    model, name = take(fields, "model", str, None), "prompt" if is_old else "input"
    texts = fields.pop(name, "")
    if isinstance(texts, str):
        texts = [texts] if texts else []
    if (
        not isinstance(texts, list)
        or not all(isinstance(text, str) for text in texts)
        or (is_old and len(texts) > 1)
    ):
        raise BodyError(f"{name} must be a text" + ("" if is_old else ", or a list of texts"), name)
    is_cut = take(fields, "truncate", bool, True)
    keep_alive = read_keep_alive(fields.pop("keep_alive", None))
    if take(fields, "options", dict, {}):
        raise BodyError("options must be left out: they are a generation's", "options")
    refuse_rest(fields, known=("model", name, "truncate", "keep_alive", "options"))
    return OllamaEmbedRequest(model, texts, is_cut, keep_alive)
