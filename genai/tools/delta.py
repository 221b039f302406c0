"""What a parser gives as an answer comes: text, reasoning, and calls in pieces; and the same put together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from genai.config import CutCall, ToolCall

__all__ = ["Answer", "AnswerDelta", "AnswerParts", "ToolCallDelta"]


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call.

    Args:
        index: Which of the answer's calls.
        id: The call's id, in its first piece only.
        name: The function, in the first piece only.
        arguments: The next part of the arguments' JSON text.
        is_withdrawn: What came of this call is void: it turned out to be damaged, and comes as text instead.
        is_sure: In the first piece: that this call is never withdrawn, since a grammar lets the model write nothing else.
        is_cut: What came of this call is all of it: the answer ended within it.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    is_withdrawn: bool = False
    is_sure: bool = False
    is_cut: bool = False

    @classmethod
    def of(cls, index: int, call: ToolCall | CutCall) -> Self:
        """Return all of a call as one piece."""
        is_cut = isinstance(call, CutCall)
        return cls(index, call.id, call.name, call.arguments_json, is_sure=True, is_cut=is_cut)


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """What one piece of text settled.

    Args:
        text: More of the answer.
        reasoning: More of what the model thinks before it.
        tool_calls: Pieces of calls, in order.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.tool_calls)

    def plus(self, other: AnswerDelta) -> AnswerDelta:
        """Return this and the next one as one."""
        return AnswerDelta(
            self.text + other.text, self.reasoning + other.reasoning, self.tool_calls + other.tool_calls
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, taken apart.

    Args:
        text: What the model says, without reasoning and calls.
        reasoning: What it thought before.
        tool_calls: The functions that it wants called.
        cut_call: The call behind these in which it ended.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    cut_call: CutCall | None = None


@dataclass(slots=True)
class _OpenCall:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)
    is_cut: bool = False


class AnswerParts:
    """Puts deltas together.

    >>> parts = AnswerParts()
    >>> parts.add([AnswerDelta("Wait."), AnswerDelta(tool_calls=(ToolCallDelta(0, "call_1", "now", "{}"),))])
    >>> parts.answer.text, parts.answer.tool_calls
    ('Wait.', (ToolCall(id='call_1', name='now', arguments={}, arguments_json='{}'),))
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _OpenCall] = {}

    def add(self, deltas: Iterable[AnswerDelta]) -> None:
        """Take the next deltas."""
        for delta in deltas:
            self._text.append(delta.text)
            self._reasoning.append(delta.reasoning)
            for piece in delta.tool_calls:
                self._add_piece(piece)

    @property
    def answer(self) -> Answer:
        """The answer so far; its calls are whole once the parser has finished."""
        calls, cut_call = [], None
        for _, call in sorted(self._calls.items()):
            text = "".join(call.arguments)
            if call.is_cut:
                cut_call = CutCall(call.id, call.name, text)
            else:
                calls.append(ToolCall(call.id, call.name, json.loads(text), text))
        return Answer("".join(self._text), "".join(self._reasoning), tuple(calls), cut_call)

    def _add_piece(self, piece: ToolCallDelta) -> None:
        if piece.is_withdrawn:
            del self._calls[piece.index]
            return
        if piece.name is not None:
            self._calls[piece.index] = _OpenCall(piece.id or "", piece.name)
        call = self._calls[piece.index]
        call.arguments.append(piece.arguments)
        call.is_cut = piece.is_cut
