"""Calls of a streamed answer for interfaces that tell a call as a whole."""

from __future__ import annotations

import json

from genai.config import ToolCall
from genai.engine import Piece
from genai.tools import SettledCalls, ToolCallDelta

__all__ = ["WholeCalls"]


class WholeCalls:
    """Takes the pieces of one answer, and gives its calls as they become whole, but none in which the answer ends.

    >>> calls = WholeCalls()
    >>> calls.take(Piece("", (1,), tool_calls=(ToolCallDelta(0, "call_1", "now", "{"),)))
    []
    >>> calls.take(Piece("", (2,), "stop", tool_calls=(ToolCallDelta(0, arguments="}"),)))
    [ToolCall(id='call_1', name='now', arguments={}, arguments_json='{}')]
    """

    def __init__(self) -> None:
        self._settled = SettledCalls()
        self._begun: ToolCallDelta | None = None
        self._arguments = ""

    def take(self, piece: Piece) -> list[ToolCall]:
        """Return the calls that are whole with a piece: all but the last, until the answer ends."""
        is_finished = piece.finish_reason is not None
        whole: list[ToolCall] = []
        for delta in self._settled.push(piece.tool_calls, is_finished=is_finished):
            if delta.name is not None:
                whole += self._end()
                self._begun = delta
            self._arguments += delta.arguments
            if delta.is_cut:
                self._begun, self._arguments = None, ""
        return whole + self._end() if is_finished else whole

    def _end(self) -> list[ToolCall]:
        """Return the call that has come, if one has."""
        call, arguments = self._begun, self._arguments
        self._begun, self._arguments = None, ""
        if call is None:
            return []
        assert call.id is not None
        assert call.name is not None
        return [ToolCall(call.id, call.name, json.loads(arguments), arguments)]
