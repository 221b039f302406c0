"""OpenAI's embeddings: the request's body, and the response's (https://platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from genai.embedding import Pooling
from genai.errors import OptionError
from genai.wire.fields import BodyError, are_tokens, body_fields, refuse_rest, take

__all__ = ["EmbeddingRequest", "embedding_body", "read_embedding_request"]

_FIELDS = ("model", "input", "encoding_format", "pooling", "normalize")


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A body that was read.

    Args:
        model: The model that it names.
        inputs: What is wanted as vectors: texts, or lists of tokens.
        as_base64: Whether they are written as base64 of float32, as OpenAI's clients ask by themselves, or as numbers.
        options: Of `Generator.embed`: pooling and normalize.
    """

    model: str | None
    inputs: Sequence[str] | Sequence[list[int]]
    as_base64: bool
    options: Mapping[str, Any]

    def in_its_words(self, error: OptionError) -> OptionError:
        """Return an error about tokens with the name that the body has for them."""
        return type(error)(str(error), option="input") if error.option == "prompt_token_ids" else error


def read_embedding_request(body: Any) -> EmbeddingRequest:
    """Read the body of a request; a field that is null is left out.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be.
    """
    fields = body_fields(body)
    model = take(fields, "model", str, None)
    inputs = _read_input(fields.pop("input", None))
    if "dimensions" in fields:
        raise BodyError(
            "dimensions: a model's vectors have as many as its hidden states, and no shorter form: leave it out",
            "dimensions",
        )
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
    return EmbeddingRequest(model, inputs, encoding == "base64", options)


def _read_input(value: Any) -> list[Any]:
    """Return a text, the tokens of one, or a list of either, as lists."""
    several = [value] if isinstance(value, str) or are_tokens(value) else value
    is_list = isinstance(several, list) and bool(several)
    if is_list and (all(isinstance(each, str) for each in several) or all(map(are_tokens, several))):
        return list(several)
    raise BodyError(
        "input must be a text, a list of tokens, or a list of texts or of such lists, and not empty", "input"
    )


def embedding_body(
    request: EmbeddingRequest, vectors: npt.NDArray[np.float32], *, model: str, num_tokens: int
) -> dict[str, Any]:
    """Return the body that answers a request.

    Args:
        request: The request.
        vectors: The vector of each of its inputs, float32 [inputs, hidden_size].
        model: What the model is called.
        num_tokens: How many tokens they have.
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
