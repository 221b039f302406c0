"""OpenAI's embeddings: the request's body, and the response's (https://platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from genai.embedding import Pooling
from genai.wire.fields import BodyError, body_fields, refuse_rest, take

__all__ = ["EmbeddingRequest", "embedding_body", "read_embedding_request"]

_FIELDS = ("model", "input", "encoding_format", "pooling", "normalize")


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A body that was read.

    Args:
        model: The model that it names.
        texts: What is wanted as vectors.
        as_base64: Whether they are written as base64 of float32, as OpenAI's clients ask by themselves, or as numbers.
        options: Of `Generator.embed`: pooling and normalize.
    """

    model: str | None
    texts: Sequence[str]
    as_base64: bool
    options: Mapping[str, Any]


def read_embedding_request(body: Any) -> EmbeddingRequest:
    """Read the body of a request; a field that is null is left out.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be.
    """
    fields = body_fields(body)
    model = take(fields, "model", str, None)
    texts = fields.pop("input", None)
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BodyError("input must be a text, or a list of texts that is not empty", "input")
    encoding = take(fields, "encoding_format", str, "float")
    if encoding not in ("float", "base64"):
        raise BodyError(
            f'encoding_format must be "float" or "base64", not "{encoding:.100}"', "encoding_format"
        )
    options: dict[str, Any] = {name: fields.pop(name) for name in ("pooling", "normalize") if name in fields}
    if options.get("pooling", "last") not in get_args(Pooling):
        raise BodyError(f"pooling must be one of {', '.join(get_args(Pooling))}", "pooling")
    if not isinstance(options.get("normalize", True), bool):
        raise BodyError("normalize must be true or false", "normalize")
    refuse_rest(fields, known=_FIELDS)
    return EmbeddingRequest(model, texts, encoding == "base64", options)


def embedding_body(
    request: EmbeddingRequest, vectors: npt.NDArray[np.float32], *, model: str, num_tokens: int
) -> dict[str, Any]:
    """Return the body that answers a request.

    Args:
        request: The request.
        vectors: The vector of each of its texts, float32 [texts, hidden_size].
        model: What the model is called.
        num_tokens: How many tokens the texts have.
    """
    written = [_as_base64(vector) if request.as_base64 else vector.tolist() for vector in vectors]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(written)],
        "model": model,
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }


def _as_base64(vector: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
