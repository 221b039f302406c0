"""Watching a sequence for the marker that begins something, by its tokens or by the text of the last of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import llguidance

__all__ = ["MarkerWatch", "Trigger"]


@dataclass(frozen=True, slots=True)
class Trigger:
    """What begins something in an answer.

    Args:
        marker: The text that does.
        hidden: What begins and ends a part in which it does not, such as reasoning; `None` where there is none.
        is_hidden: Whether the answer begins within such a part.
    """

    marker: str
    hidden: tuple[str, str] | None = None
    is_hidden: bool = False


class MarkerWatch:
    """Watches one sequence.

    Where each text is a token of its own, ids are compared, else the bytes of as many last tokens as a text may take.

    Args:
        trigger: What it looks for.
        vocabulary: The tokenizer.
    """

    __slots__ = ("_ends", "_ids", "_is_hidden", "_longest", "_text", "_texts", "_tokens", "_vocabulary")

    def __init__(self, trigger: Trigger, vocabulary: llguidance.LLTokenizer) -> None:
        self._vocabulary = vocabulary
        self._is_hidden = trigger.is_hidden
        texts = (trigger.marker, *(trigger.hidden or ()))
        self._texts = tuple(text.encode() for text in texts)
        encoded = [vocabulary.tokenize_str(text, parse_special=True) for text in texts]
        is_by_id = all(len(ids) == 1 and vocabulary.is_special_token(ids[0]) for ids in encoded)
        self._ids = tuple(ids[0] for ids in encoded) if is_by_id else ()
        self._longest = max(map(len, self._texts))
        self._text = b""  # of the last tokens
        self._tokens: list[int] = []
        self._ends: list[int] = []  # where each of them ends in the text

    def accept(self, token_id: int) -> list[int]:
        """Return the tokens in which the marker stands, where it is complete with this one; else none."""
        if self._ids:
            return self._accept_id(token_id)
        self._text += self._vocabulary.decode_bytes([token_id])
        self._tokens.append(token_id)
        self._ends.append(len(self._text))
        while True:
            wanted = self._texts[2:] if self._is_hidden else self._texts[:2]
            found = [(start, text) for text in wanted if (start := self._text.find(text)) >= 0]
            if not found:
                break
            start, text = min(found)
            if text is self._texts[0]:
                return [token for token, end in zip(self._tokens, self._ends, strict=True) if end > start]
            self._is_hidden = not self._is_hidden
            self._forget(start + len(text))
        if len(self._text) > 8 * self._longest:
            self._forget(len(self._text) - self._longest + 1)
        return []

    def copy(self) -> Self:
        """Return one in the same state that goes its own way."""
        twin = copy.copy(self)
        twin._tokens, twin._ends = self._tokens.copy(), self._ends.copy()
        return twin

    def _accept_id(self, token_id: int) -> list[int]:
        marker, *hidden = self._ids
        if self._is_hidden:
            self._is_hidden = token_id != hidden[1]
        elif token_id == marker:
            return [token_id]
        elif hidden:
            self._is_hidden = token_id == hidden[0]
        return []

    def _forget(self, position: int) -> None:
        """Forget the text before a position, and the tokens that end there or before."""
        self._text = self._text[position:]
        kept = [
            (token, end - position)
            for token, end in zip(self._tokens, self._ends, strict=True)
            if end > position
        ]
        self._tokens, self._ends = [token for token, _ in kept], [end for _, end in kept]
