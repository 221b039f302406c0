"""Texts as vectors: the last layer's hidden states, pooled. Owns a decoder that gives these in the place of logits."""

from __future__ import annotations

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

Floats = npt.NDArray[np.float32]


class Embedder:
    """A model that turns texts into vectors.

    It has a session and a cache of its own, so that its weights are in memory beside those of whoever generates.

    Args:
        folder: The model folder.
        options: Where and how it runs, as for `Decoder`.

    Raises:
        OptionError: The graph does not tell where its hidden states are.
    """

    def __init__(self, folder: ModelFolder, **options: Any) -> None:
        decoder = Decoder(folder, gives_hidden_states=True, max_batch=1, **options)
        self._engine = Engine(decoder)

    def embed(self, token_ids: Sequence[int], *, pooling: Pooling, normalize: bool) -> Floats:
        """Return the vector of a text, float32 [hidden_size].

        Args:
            token_ids: Its tokens.
            pooling: See `Pooling`.
            normalize: Whether its length is made 1.

        Raises:
            OptionError: The text is empty, or longer than the context; or the pooling is unknown.
        """
        check_one_of(get_args(Pooling), pooling=pooling)
        states = self._engine.score(token_ids, num_logits=1 if pooling == "last" else None)
        pooled: Floats = states.mean(axis=0) if pooling == "mean" else states[0]
        return pooled / max(float(np.linalg.norm(pooled)), 1e-12) if normalize else pooled.copy()
