"""The calls of a streamed answer without those that are taken back: for readers who could not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from genai.tools.delta import ToolCallDelta

__all__ = ["SettledCalls"]


class SettledCalls:
    """Passes on the deltas of one answer's calls that are settled, the name of each call before its arguments.

    A sure call comes as it does here; of any other nothing comes before it is whole, since it may turn out to be none.

    >>> calls = SettledCalls()
    >>> [each.arguments for each in calls.push([ToolCallDelta(0, "call_1", "now", "{", is_sure=True)])]
    ['', '{']
    >>> list(calls.push([ToolCallDelta(1, "call_2", "now", "{")]))
    []
    >>> list(calls.push([ToolCallDelta(1, is_withdrawn=True)], is_finished=True))
    []
    >>> calls.num_whole
    1
    """

    def __init__(self) -> None:
        self._held: list[ToolCallDelta] = []  # of the last call, where it is not sure
        self._num_begun = 0
        self._num_cut = 0

    @property
    def num_whole(self) -> int:
        """How many calls have come that were not cut off, or may be yet."""
        return self._num_begun - self._num_cut

    def push(self, deltas: Iterable[ToolCallDelta], *, is_finished: bool = False) -> Iterator[ToolCallDelta]:
        """Yield what is settled by the next deltas, which are the last where the answer has ended with them."""
        for delta in deltas:
            if delta.is_withdrawn:
                self._held.clear()
                continue
            if delta.name is not None:
                yield from self._let_go()
            if self._held or (delta.name is not None and not delta.is_sure):
                self._held.append(delta)
            else:
                yield from self._pass(delta)
        if is_finished:
            yield from self._let_go()

    def _let_go(self) -> Iterator[ToolCallDelta]:
        if self._held:
            first, arguments = self._held[0], "".join(delta.arguments for delta in self._held)
            self._held.clear()
            yield from self._pass(ToolCallDelta(first.index, first.id, first.name, arguments))

    def _pass(self, delta: ToolCallDelta) -> Iterator[ToolCallDelta]:
        if delta.name is not None:
            self._num_begun += 1
            yield ToolCallDelta(delta.index, delta.id, delta.name, is_sure=True)
        self._num_cut += delta.is_cut
        if delta.arguments or delta.is_cut:
            yield ToolCallDelta(delta.index, arguments=delta.arguments, is_cut=delta.is_cut)
