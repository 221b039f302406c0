"""The constraint of one sequence: which tokens may follow, which one must, and what has been said."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from genai.errors import GenerationError
from genai.structured.mask import TokenMask

if TYPE_CHECKING:
    import llguidance

__all__ = ["GrammarConstraint"]


class GrammarConstraint:
    """Keeps one sequence within a grammar; a `LogitsProcessor`.

    Where the text is complete, tokens that end a sequence are allowed, and where nothing else can follow, only the first
    of them. After the end, and after a token that was forbidden (as beams take where none is left), everything is forbidden.

    Args:
        matcher: llguidance's state of the sequence; owned from now on.
        mask: Buffers, which sequences of one engine may share.
        vocabulary_end: The token that ends a text for the matcher.
        end_token_ids: The tokens that end the sequence, at least one.
        option: The option that asks for it.
    """

    __slots__ = ("_end_token_ids", "_is_over", "_mask", "_matcher", "_vocabulary_end", "option")
    is_done = is_waiting = False

    def __init__(
        self,
        matcher: llguidance.LLMatcher,
        mask: TokenMask,
        *,
        vocabulary_end: int,
        end_token_ids: Sequence[int],
        option: str = "response_format",
    ) -> None:
        self.option = option
        self._matcher = matcher
        self._mask = mask
        self._vocabulary_end = vocabulary_end
        self._end_token_ids = tuple(end_token_ids)
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether nothing may follow: the sequence has ended, or taken what was forbidden."""
        return self._is_over

    def apply(self, logits: NDArray[np.float32]) -> None:
        """Make the logits of what may not follow -inf.

        Raises:
            GenerationError: The grammar is too ambiguous here for llguidance's limits.
        """
        if self._is_over:
            logits.fill(-np.inf)
            return
        mask = self._mask
        self._matcher.unsafe_compute_mask_ptr(mask.words.ctypes.data, mask.words.nbytes)
        self._check()
        if self._vocabulary_end in mask:
            mask.set(self._vocabulary_end, is_allowed=False)
            count = 1 if self._matcher.is_stopped() else len(self._end_token_ids)
            for token_id in self._end_token_ids[:count]:
                mask.set(token_id, is_allowed=True)
        mask.apply(logits)

    def accept(self, token_id: int) -> None:
        """Learn of the next token of the sequence."""
        if self._is_over:
            return
        self._is_over = token_id in self._end_token_ids or not self._matcher.try_consume_tokens([token_id])
        self._check()

    def forced_token(self) -> int | None:
        """Return the only token that `apply` would allow, where the grammar forces one; None where there is a choice.

        llguidance forces a token only where the model's own tokenizer would make the forced text of it, whatever follows.
        """
        if self._is_over:
            return None
        if self._matcher.is_stopped():
            self._check()
            return self._end_token_ids[0]
        forced = self._matcher.compute_ff_tokens()
        return forced[0] if forced else None

    def copy(self) -> Self:
        """Return one in the same state that goes its own way."""
        twin = copy.copy(self)
        twin._matcher = self._matcher.deep_copy()
        return twin

    def _check(self) -> None:
        if self._matcher.is_error():
            cause = self._matcher.get_error().split("\n", 1)[0]
            raise GenerationError(f"{self.option}: its grammar cannot be followed any further: {cause:.300}")
