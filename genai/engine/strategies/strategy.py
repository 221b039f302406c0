"""What the loop asks of a search, whatever its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from genai.engine.request import Request
from genai.engine.results import Choice, FinishReason
from genai.engine.sequence import GenerationSequence
from genai.model import Span, StepOutput

__all__ = ["Strategy"]


class Strategy(Protocol):
    """The search of one request.

    Its sequences advance together: they run once each of them that has not ended has all but its last token in its
    slot. Slots come and go (a request under memory pressure gives them back and gets others later); the loop fills
    them up to `sequence.ids`, whatever those are by then.
    """

    @property
    def request(self) -> Request:
        """Whose search it is."""
        ...

    @property
    def sequences(self) -> Sequence[GenerationSequence]:
        """Its sequences, ended ones included; as many slots are needed as there are at the beginning."""
        ...

    @property
    def takes_drafts(self) -> bool:
        """Whether its rows take along what is guessed of its sequences (`GenerationSequence.draft`)."""
        ...

    def rows(self) -> Sequence[Span]:
        """Return what runs next: of each sequence the last token, forced ones before it if need be, and its draft."""
        ...

    def take(self, output: StepOutput, first: int, /) -> bool:
        """Take the logits of the rows, which stand in the batch from `first` on; return whether any sequence ended.

        Tokens are committed, text is emitted, and caches are copied to where the next rows are, or cut back to what was
        right of a draft.

        Raises:
            GenerationError: The logits are not usable, or the options leave no token.
        """
        ...

    def end(self, reason: FinishReason, /) -> None:
        """End all sequences that have not ended, for a reason that is not their last token."""
        ...

    def finish(self) -> Sequence[Choice]:
        """Return what was found, best first, once all sequences have ended; emit what was held back until now."""
        ...
