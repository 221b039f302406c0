"""Texts as vectors: the last layer's hidden states, pooled. Owns a decoder that gives these in the place of logits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from genai.config.choices import check_one_of
from genai.engine import Engine
from genai.folder import ModelFolder
from genai.runtime import Decoder

__all__ = ["Embedder", "Pooling"]

Pooling = Literal["last", "mean"]
"""What stands for a text: the hidden state of its last token, which has seen all others, or the mean of all."""

CHUNK = 256
"""Positions whose hidden states are in memory at a time."""

Floats = npt.NDArray[np.float32]


class Embedder:
    """A model that turns texts into vectors.

    It has a session and a cache of its own, so that its weights are in memory beside those of whoever generates; both are
    made for the first text. Safe to call from several threads.

    Args:
        folder: The model folder.
        options: Where and how it runs, as for `Decoder`.
    """

    def __init__(self, folder: ModelFolder, **options: Any) -> None:
        self._folder = folder
        self._options = options
        self._engine: Engine | None = None
        self._opening = threading.Lock()

    def embed(self, token_ids: Sequence[int], *, pooling: Pooling, normalize: bool) -> Floats:
        """Return the vector of a text, float32 [hidden_size].

        Args:
            token_ids: Its tokens.
            pooling: See `Pooling`.
            normalize: Whether its length is made 1.

        Raises:
            OptionError: The text is empty, or longer than the context; or the pooling is unknown; or the graph does not tell
                where its hidden states are.
        """
        check_one_of(get_args(Pooling), pooling=pooling)
        engine = self._opened()
        pooled = (
            _mean_state(engine, token_ids) if pooling == "mean" else engine.score(token_ids, num_logits=1)[0]
        )
        return pooled / max(float(np.linalg.norm(pooled)), 1e-12) if normalize else pooled

    def close(self) -> None:
        """Free the model; a text after this would load it again."""
        with self._opening:
            self._engine = None

    def _opened(self) -> Engine:
        with self._opening:
            if self._engine is None:
                decoder = Decoder(self._folder, gives_hidden_states=True, max_batch=1, **self._options)
                self._engine = Engine(decoder)
            return self._engine


def _mean_state(engine: Engine, token_ids: Sequence[int]) -> Floats:
    """Return the mean of the hidden states at all tokens; a chunk goes on from what the cache holds of those before it."""
    engine.check_prompt(token_ids)
    total: npt.NDArray[np.float64] | float = 0.0
    for start in range(0, len(token_ids), CHUNK):
        part = token_ids[: start + CHUNK]
        total = total + engine.score(part, num_logits=len(part) - start).sum(axis=0, dtype=np.float64)
    return (np.asarray(total) / len(token_ids)).astype(np.float32)
