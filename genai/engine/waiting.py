"""The requests that wait for slots, and who of them goes next.

By priority; of one priority first whoever has run before and gave way; then the client that was served least
(`ServiceCounters`); then in order of arrival. With one client and one priority that is the order of arrival.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from genai.engine.fairness import ServiceCounters
from genai.engine.strategies import Strategy

__all__ = ["WaitingQueue"]


class _Line(NamedTuple):
    """Whose requests go in order of arrival."""

    priority: int
    client: str | None


class WaitingQueue:
    """Requests in the order in which they get slots.

    Any thread may add one, or look through them, at any time, the interrupted handler of a signal included; everything else is
    for whoever has the engine's turn.
    """

    def __init__(self) -> None:
        self.service = ServiceCounters()
        self._added: deque[Strategy] = deque()  # not in their lines yet
        self._gave_way: deque[Strategy] = deque()
        self._lines: dict[_Line, dict[Strategy, None]] = {}

    def __len__(self) -> int:
        return len(self._added) + len(self._gave_way) + sum(map(len, list(self._lines.values())))

    def __bool__(self) -> bool:
        return bool(self._added or self._gave_way or self._lines)

    def __iter__(self) -> Iterator[Strategy]:
        """Iterate over a copy, in no order."""
        copies = [tuple(line) for line in list(self._lines.values())]
        return iter([*self._gave_way, *(each for line in copies for each in line), *self._added])

    def add(self, strategy: Strategy) -> None:
        """Add a request that has just come."""
        self._added.append(strategy)

    def put_back(self, strategy: Strategy) -> None:
        """Add one that has run, before all others of its priority."""
        self._gave_way.appendleft(strategy)

    def first(self) -> Strategy | None:
        """Return who goes next, and stays here until it is removed; None if nobody waits."""
        self._line_up()
        if len(self._lines) > 1:
            self.service.count()
        line = min(self._lines, key=self._rank, default=None)
        gave_way = min(self._gave_way, key=_priority, default=None)  # the first of several
        if gave_way is not None and (line is None or _priority(gave_way) <= line.priority):
            return gave_way
        return None if line is None else next(iter(self._lines[line]))

    def remove(self, strategy: Strategy) -> None:
        """Take a request out, wherever it waits."""
        for queue in (self._added, self._gave_way):
            if strategy in queue:
                queue.remove(strategy)
        line = _line_of(strategy)
        if strategy in self._lines.get(line, ()):
            if len(self._lines[line]) == 1:
                del self._lines[line]  # no line is ever empty, wherever this is interrupted
            else:
                del self._lines[line][strategy]

    def _line_up(self) -> None:
        """Put what was added into its lines."""
        while self._added:
            strategy = self._added[0]
            line = _line_of(strategy)
            if line not in self._lines:
                self.service.join(line.client, {each.client for each in self._lines})
                self._lines[line] = {strategy: None}
            else:
                self._lines[line][strategy] = None
            self._added.popleft()  # last: an interrupt loses nothing

    def _rank(self, line: _Line) -> tuple[int, int, float]:
        first = next(iter(self._lines[line]))
        return line.priority, self.service.served(line.client), first.request.times.submitted


def _priority(strategy: Strategy) -> int:
    return strategy.request.priority


def _line_of(strategy: Strategy) -> _Line:
    return _Line(strategy.request.priority, strategy.request.client)
