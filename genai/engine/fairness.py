"""How much each client has been served, so that none of them gets more than its share while others wait.

The virtual token counters of Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024): a client's counter goes up
with what is computed for it, and the one that is lowest goes next. Who had nothing waiting is lifted to the lowest of those
who had, so that nobody saves up a right to the whole machine. Tokens of prompts that were cached cost nothing, and those that
are computed again, because memory was short, nobody's fault.
"""

from __future__ import annotations

from collections.abc import Collection

from genai.engine.strategies import Strategy

__all__ = ["ServiceCounters"]

GENERATED_COST = 2
"""What a generated token counts, in tokens of a prompt, which run many at a time."""
MAX_IDLE = 1000
"""Clients with nothing waiting that are remembered, unless they have had more than those who wait."""


class ServiceCounters:
    """The counters of an engine's clients. What runs is counted when somebody looks, not at every step."""

    def __init__(self) -> None:
        self._served: dict[str | None, int] = {}
        self._num_counted: dict[Strategy, int] = {}  # generated tokens of what has begun
        self._last: str | None = None

    def served(self, client: str | None) -> int:
        """Return a client's counter, as of the last `count`."""
        return self._served.get(client, 0)

    def join(self, client: str | None, waiting: Collection[str | None]) -> None:
        """Note that a client has something waiting now; `waiting` are those who have already."""
        if client in waiting:
            return
        self.count()
        floor = min(map(self.served, waiting)) if waiting else self.served(self._last)
        self._served[client] = max(self.served(client), floor)
        if len(self._served) > MAX_IDLE:
            kept = {client, self._last, *waiting}
            self._served = {c: n for c, n in self._served.items() if c in kept or n > floor}

    def begin(self, strategy: Strategy, num_prompt_tokens: int) -> None:
        """Note that so many tokens of a request's prompt will be computed; nothing if it has begun before and gave way."""
        if strategy not in self._num_counted:
            self._last = strategy.request.client
            self._num_counted[strategy] = 0
            self._served[self._last] = self.served(self._last) + num_prompt_tokens

    def count(self) -> None:
        """Count what was generated since the last time."""
        for strategy in self._num_counted:
            self._count(strategy)

    def end(self, strategy: Strategy) -> None:
        """Count the last of a request."""
        if strategy in self._num_counted:
            self._count(strategy)
            del self._num_counted[strategy]

    def _count(self, strategy: Strategy) -> None:
        generated = sum(len(each.ids) - each.num_prompt for each in strategy.sequences)
        client, new = strategy.request.client, generated - self._num_counted[strategy]
        self._served[client] = self.served(client) + GENERATED_COST * new
        self._num_counted[strategy] = generated
