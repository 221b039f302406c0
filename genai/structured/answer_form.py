"""What an answer must be, as a frozen value: its form, and what stands around that."""

from __future__ import annotations

from dataclasses import dataclass

from genai.config import ResponseFormat

__all__ = ["AnswerForm"]


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer must be.

    Args:
        form: The form of what is said; `None` where the frame says all.
        frame: A grammar of the whole answer, in llguidance's dialect of Lark, in which `@form` stands for the form; empty
            where the form is that of the whole answer.
        lead: A text that may stand before the form within the frame, where one must.
        option: The option that asks for it, for error messages.
    """

    form: ResponseFormat | None
    frame: str = ""
    lead: str = ""
    option: str = "response_format"

    @property
    def size(self) -> int:
        """How many characters it has."""
        return len(self.frame) + (len(self.form.source) if self.form is not None else 0)
