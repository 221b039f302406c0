"""Cutting a text's tokens into passages that fit a window, so that every token is scored once and in context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genai.errors import OptionError

__all__ = ["MIN_TOKENS", "Passage", "Windows", "cut_passages"]

MAX_WINDOW = 1024
MIN_WINDOW = 16
MIN_TOKENS = 64
"""A mean over fewer tokens says nothing about a model."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Tokens that are scored together.

    Args:
        token_ids: The tokens, those that are context alone first.
        num_scored: How many of the last are scored; at least one other stands before them.
    """

    token_ids: Sequence[int]
    num_scored: int


@dataclass(frozen=True, slots=True)
class Windows:
    """How a text is cut.

    Args:
        size: Most tokens of a passage.
        stride: By how many tokens a passage begins later than the one before it.
    """

    size: int
    stride: int

    @classmethod
    def choose(cls, context_length: int, *, size: int | None = None, stride: int | None = None) -> Windows:
        """Return the windows to use with a model: of 1,024 tokens if its context has room, half overlapping.

        Raises:
            OptionError: The window does not fit the context, or the stride not the window.
        """
        if size is None:
            size = min(context_length, MAX_WINDOW)
        if not MIN_WINDOW <= size <= context_length:
            raise OptionError(
                f"window must be at least {MIN_WINDOW} and at most {context_length}, the context, not {size}"
            )
        if stride is None:
            stride = size // 2
        if not 1 <= stride < size:
            raise OptionError(f"stride must be at least 1 and less than the window of {size}, not {stride}")
        return cls(size, stride)


def cut_passages(token_ids: Sequence[int], prefix: Sequence[int], windows: Windows) -> list[Passage]:
    """Return passages in which every token is scored exactly once, but for the first where there is no prefix.

    A token stands behind the prefix, and behind at least `size - stride` tokens less the prefix's where the text has
    so many before it. The prefix stands before every passage: models that were trained with one answer nonsense
    without.

    Raises:
        OptionError: There are too few tokens, or the prefix leaves no room for them in the window.
    """
    if len(token_ids) < MIN_TOKENS:
        raise OptionError(
            f"it has {len(token_ids)} tokens, and at least {MIN_TOKENS} are needed to measure anything: "
            "give a longer text"
        )
    room = windows.size - len(prefix)
    if room <= windows.stride:
        raise OptionError(
            f"a window of {windows.size} has no room for a stride of {windows.stride} after the {len(prefix)} tokens "
            "that begin every text"
        )
    passages = []
    scored = 0 if prefix else 1
    start = 0
    while scored < len(token_ids):
        end = min(start + room, len(token_ids))
        passages.append(Passage([*prefix, *token_ids[start:end]], end - scored))
        scored, start = end, start + windows.stride
    return passages
