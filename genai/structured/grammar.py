"""What an answer must be, compiled, for any number of sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genai.errors import GenerationError
from genai.structured.answer_form import AnswerForm
from genai.structured.constraint import GrammarConstraint
from genai.structured.late_constraint import LateConstraint
from genai.structured.marker_watch import MarkerWatch, Trigger
from genai.structured.mask import TokenMask

if TYPE_CHECKING:
    import llguidance

__all__ = ["Grammar"]


class Grammar:
    """What an answer must be, compiled for one tokenizer.

    Args:
        answer: What it must be.
        vocabulary: The tokenizer.
        matcher: The state before the first token; only ever copied.
    """

    def __init__(
        self, answer: AnswerForm, vocabulary: llguidance.LLTokenizer, matcher: llguidance.LLMatcher
    ) -> None:
        self._answer = answer
        self._vocabulary = vocabulary
        self._matcher = matcher
        self._lead = vocabulary.tokenize_str(answer.lead, parse_special=True)

    def constraint(self, end_token_ids: Sequence[int]) -> GrammarConstraint:
        """Return the constraint of one sequence, which these tokens end."""
        return GrammarConstraint(
            self._matcher.deep_copy(),
            TokenMask(self._vocabulary.vocab_size),
            vocabulary_end=self._vocabulary.eos_token,
            end_token_ids=end_token_ids,
            option=self._answer.option,
        )

    def late_constraint(self, trigger: Trigger, end_token_ids: Sequence[int]) -> LateConstraint:
        """Return the constraint of one sequence from where it is triggered on.

        The grammar must begin with the token that the trigger's marker begins in.
        """
        return LateConstraint(
            MarkerWatch(trigger, self._vocabulary),
            lambda: self.constraint(end_token_ids),
            option=self._answer.option,
        )

    def accepts(self, text: str, *, is_complete: bool = True) -> bool:
        """Whether a text is of the form, or could become one if it went on."""
        matcher = self._matcher.deep_copy()
        token_ids = [*self._lead, *self._vocabulary.greedy_tokenize(text)]
        is_within = matcher.try_consume_tokens(token_ids) == len(token_ids)
        return is_within and (matcher.is_accepting() or not is_complete)

    def parse(self, text: str) -> Any:
        """Return what a text of the form stands for; None if it is not complete, as where a stop text has cut it.

        Raises:
            GenerationError: The text is of the form, but the class of the form refuses it, or Python cannot hold it.
        """
        if self._answer.form is None or not self.accepts(text):
            return None
        try:
            return self._answer.form.parse(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise GenerationError(f"{self._answer.option}: {text[:200]!r} cannot be read: {error}") from error
