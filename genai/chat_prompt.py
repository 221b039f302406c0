"""A conversation as a prompt, and how its answer is to be read: whose reasoning, whose calls, which markers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genai.tools import AnswerParser, FormParser, ReasoningFormat, ToolFormat

__all__ = ["ChatPrompt"]


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation as a prompt, and how its answer is read.

    Args:
        token_ids: The prompt.
        tool_format: How the model writes calls; `None` where its template shows nothing.
        tools: The schemas of the parameters of the functions that may be called, by name.
        reasoning: How it marks what it thinks; `None` where its template shows nothing.
        is_reasoning: Whether the prompt has begun the reasoning already.
        has_reasoned: Whether it has ended it, or more of the answer, already.
        kept_ids: Special tokens that are markers, which decoding must keep.
        grammar: What the answer must be, in llguidance's dialect of Lark; `None` leaves it to the model.
    """

    token_ids: list[int]
    tool_format: ToolFormat | None = None
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reasoning: ReasoningFormat | None = None
    is_reasoning: bool = False
    has_reasoned: bool = False
    kept_ids: frozenset[int] = frozenset()
    grammar: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether its answer is nothing but text."""
        return self.reasoning is None and (
            self.tool_format is None or not (self.tools or self.tool_format.silent)
        )

    @property
    def may_reason(self) -> bool:
        """Whether reasoning may come before the answer."""
        return self.reasoning is not None and not self.has_reasoned

    def make_parser(self) -> AnswerParser:
        """Return a parser of one answer."""
        return AnswerParser(
            self.tool_format, self.tools, reasoning=self.reasoning, is_reasoning=self.is_reasoning
        )

    def make_form_parser(self) -> FormParser:
        """Return a parser of one answer that must be in a form, where the model may reason before it."""
        assert self.reasoning is not None
        return FormParser(self.reasoning, is_reasoning=self.is_reasoning)
