"""The caller's own functions of the logits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np

from genai.config import LogitsFunction
from genai.errors import GenerationError
from genai.sampling.processors import Logits

__all__ = ["FunctionProcessor"]


class FunctionProcessor:
    """Keeps the tokens, `_tokens[:_count]`, of which the functions see a view."""

    __slots__ = ("_count", "_functions", "_tokens")
    option = "logits_processors"
    is_done = False

    def __init__(self, functions: Sequence[LogitsFunction], prompt_token_ids: Sequence[int]) -> None:
        self._functions = functions
        self._count = len(prompt_token_ids)
        self._tokens = np.zeros(max(256, 2 * self._count), np.int64)
        self._tokens[: self._count] = prompt_token_ids

    def apply(self, logits: Logits) -> None:
        token_ids = self._tokens[: self._count]
        token_ids.flags.writeable = False
        for function in self._functions:
            name = getattr(function, "__name__", repr(function))
            try:
                result = np.asarray(function(token_ids, logits), np.float32)
            except Exception as error:  # whatever a caller's function raises ends this request alone
                raise GenerationError(f"logits_processors: {name} failed: {error!r}") from error
            if result.shape != logits.shape:
                raise GenerationError(
                    f"logits_processors: {name} must return logits of shape {logits.shape}, not {result.shape}"
                )
            logits[...] = result

    def accept(self, token_id: int) -> None:
        if self._count == self._tokens.size:
            self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)])
        self._tokens[self._count] = token_id
        self._count += 1

    def copy(self) -> Self:
        twin = copy.copy(self)
        twin._tokens = self._tokens.copy()
        return twin
