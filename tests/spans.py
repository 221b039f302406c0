"""A model's `run`, for tests that want one kind of span at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from genai.cache import Slot
from genai.model import Model, Span


def prefill(model: Model, slot: Slot, token_ids: Sequence[int]) -> None:
    """Append tokens without logits."""
    if token_ids:
        model.run([Span(slot, token_ids)])


def decode(
    model: Model, token_ids: Sequence[int], slots: Sequence[Slot] | None = None
) -> npt.NDArray[np.float32]:
    """Append one token to each of some slots, by default the first ones, and return a copy of the logits."""
    slots = model.cache.slots[: len(token_ids)] if slots is None else slots
    output = model.run([Span(slot, [token], 1) for slot, token in zip(slots, token_ids, strict=True)])
    return np.concatenate([output.logits_of(index, 1) for index in range(len(token_ids))])


def score(model: Model, slot: Slot, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
    """Append tokens and return the logits at each."""
    return model.run([Span(slot, token_ids, len(token_ids))]).logits_of(0, len(token_ids)).copy()
