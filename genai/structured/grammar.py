"""A compiled form, for any number of sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genai.config import ResponseFormat
from genai.errors import GenerationError
from genai.structured.constraint import GrammarConstraint
from genai.structured.mask import TokenMask

if TYPE_CHECKING:
    import llguidance

__all__ = ["Grammar"]


class Grammar:
    """A form that was compiled for one tokenizer.

    Args:
        form: The form.
        vocabulary: The tokenizer.
        matcher: The state before the first token; only ever copied.
    """

    def __init__(
        self, form: ResponseFormat, vocabulary: llguidance.LLTokenizer, matcher: llguidance.LLMatcher
    ) -> None:
        self._form = form
        self._vocabulary = vocabulary
        self._matcher = matcher

    def constraint(self, end_token_ids: Sequence[int]) -> GrammarConstraint:
        """Return the constraint of one sequence, which these tokens end."""
        return GrammarConstraint(
            self._matcher.deep_copy(),
            TokenMask(self._vocabulary.vocab_size),
            vocabulary_end=self._vocabulary.eos_token,
            end_token_ids=end_token_ids,
        )

    def accepts(self, text: str, *, is_complete: bool = True) -> bool:
        """Whether a text is of this form, or could become one if it went on."""
        matcher = self._matcher.deep_copy()
        token_ids = self._vocabulary.greedy_tokenize(text)
        is_within = matcher.try_consume_tokens(token_ids) == len(token_ids)
        return is_within and (matcher.is_accepting() or not is_complete)

    def parse(self, text: str) -> Any:
        """Return what a text stands for; None if it is not complete, as where a stop text has cut it.

        Raises:
            GenerationError: The text is of the form, but the class of the form refuses it, or Python cannot hold it.
        """
        if not self.accepts(text):
            return None
        try:
            return self._form.parse(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise GenerationError(f"response_format: {text[:200]!r} cannot be read: {error}") from error
