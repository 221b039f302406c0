"""Calls of a streamed answer that are told when they are whole, for interfaces that have no pieces of calls.

One in which the answer ended is left out: what came of its arguments is no value. Whoever tells pieces takes
`genai.tools.SettledCalls`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from genai.config import ToolCall
from genai.engine import Piece
from genai.tools import ToolCallDelta

__all__ = ["WholeCalls"]


class WholeCalls:
    """Takes the pieces of one answer, and gives its calls as they become whole.

    >>> calls = WholeCalls()
    >>> calls.take(Piece("", (1,), tool_calls=(ToolCallDelta(0, "call_1", "now", "{"),)))
    {}
    >>> calls.take(Piece("", (2,), "stop", tool_calls=(ToolCallDelta(0, arguments="}"),)))
    {0: ToolCall(id='call_1', name='now', arguments={}, arguments_json='{}')}
    """

    def __init__(self) -> None:
        self._pending: dict[int, list[ToolCallDelta]] = {}

    def take(self, piece: Piece) -> dict[int, ToolCall]:
        """Return, by their places among the answer's calls, those that are whole: all but the last, until the answer ends."""
        for call in piece.tool_calls:
            if call.is_withdrawn or call.is_cut:
                self._pending.pop(call.index, None)
            else:
                self._pending.setdefault(call.index, []).append(call)
        last = max(self._pending, default=0)
        whole = [index for index in self._pending if piece.finish_reason is not None or index < last]
        return {index: _call(self._pending.pop(index)) for index in whole}


def _call(deltas: Sequence[ToolCallDelta]) -> ToolCall:
    first, arguments = deltas[0], "".join(each.arguments for each in deltas)
    assert first.id is not None
    assert first.name is not None
    return ToolCall(first.id, first.name, json.loads(arguments), arguments)
