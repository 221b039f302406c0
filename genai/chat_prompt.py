"""A conversation as a prompt, and how its answer is to be read: whose reasoning, whose calls, which markers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genai.tools import AnswerParser, FormParser, ReasoningFormat, ToolFormat

if TYPE_CHECKING:
    from genai.tools import PrepareSchema, Tool

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
        functions: The functions that may be called.
        must_call: Whether the answer must be calls of them.
        calls_once: Whether it must be exactly one, or may be one at most.
    """

    token_ids: list[int]
    tool_format: ToolFormat | None = None
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reasoning: ReasoningFormat | None = None
    is_reasoning: bool = False
    has_reasoned: bool = False
    kept_ids: frozenset[int] = frozenset()
    functions: tuple[Tool, ...] = ()
    must_call: bool = False
    calls_once: bool = False

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

    def make_parser(self, *, are_calls_sure: bool = False) -> AnswerParser:
        """Return a parser of one answer, whose calls are sure where a grammar holds the model to them."""
        return AnswerParser(
            self.tool_format,
            self.tools,
            reasoning=self.reasoning,
            is_reasoning=self.is_reasoning,
            are_calls_sure=are_calls_sure,
            reads_one_call=self.calls_once,
        )

    def make_form_parser(self) -> FormParser:
        """Return a parser of one answer that must be in a form, where the model may reason before it."""
        assert self.reasoning is not None
        return FormParser(self.reasoning, is_reasoning=self.is_reasoning)

    def grammar_of_calls(
        self,
        tokens: Mapping[str, int],
        ends: frozenset[str],
        *,
        is_begun: bool = False,
        prepare: PrepareSchema | None = None,
    ) -> str:
        """Return the grammar of an answer that is calls; arguments as those of `genai.tools.grammar_of_calls`."""
        from genai.tools import grammar_of_calls

        assert self.tool_format is not None
        return grammar_of_calls(
            self.tool_format,
            self.functions,
            tokens=tokens,
            reasoning=self.reasoning,
            is_reasoning=self.is_reasoning,
            is_single=self.calls_once,
            is_begun=is_begun,
            ends=ends,
            prepare=prepare,
        )
