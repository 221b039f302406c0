"""What runs take, learned from those that were made: of some rows of one token, and of one row of several tokens.

A run reads the weights once, however many tokens it has, so that a second token costs a part of the first: how large a part
depends on the machine, the provider and the precision, and is measured while they work.
"""

from __future__ import annotations

from collections.abc import Sequence

from genai.model import Span

__all__ = ["RunCosts"]

ANOTHER_TOKEN = 0.25
"""What a further token of a run is believed to cost, in runs of one token, before it is known."""
HALF_LIFE = 256
"""After so many steps a measurement weighs as much as what is believed, so that a bad one is tried again."""
FALLING, RISING = 0.5, 0.1
"""How fast an estimate follows a measurement below and above it: what disturbs a run makes it longer."""


class RunCosts:
    """Learns the seconds of runs by their number of tokens."""

    def __init__(self) -> None:
        self._plain = _Curve()
        self._verification = _Curve()
        self._num_steps = 0

    def note(self, spans: Sequence[Span], seconds: float) -> None:
        """Take in what a step took that ran these rows, and no prompts."""
        self._num_steps += 1
        verified = [len(span.token_ids) for span in spans if len(span.token_ids) > 1]
        num_plain = len(spans) - len(verified)
        if not verified:
            self._plain.note(num_plain, seconds, self._num_steps)
        elif len(verified) == 1:
            rest = self.plain(num_plain)
            if rest is not None:
                self._verification.note(verified[0], max(seconds - rest, 0.0), self._num_steps)

    def plain(self, num_rows: int) -> float | None:
        """Return the seconds of a run of so many rows of one token; None as long as no such run is known."""
        if not num_rows:
            return 0.0
        known = self._plain.nearest(num_rows)
        if known is None:
            return None
        return known.seconds * _believed(num_rows) / _believed(known.num_tokens)

    def verification(self, num_tokens: int) -> float | None:
        """Return the seconds of a run of one row of so many tokens; None as long as no run is known."""
        single = self.plain(1)
        if single is None:
            return None
        believed = single * _believed(num_tokens)
        known = self._verification.nearest(num_tokens)
        if known is None:
            return believed
        measured = known.seconds * _believed(num_tokens) / _believed(known.num_tokens)
        weight: float = 0.5 ** ((self._num_steps - known.step) / HALF_LIFE)
        return weight * measured + (1 - weight) * believed


class _Known:
    """What is known of runs of a number of tokens."""

    __slots__ = ("num_tokens", "seconds", "step")

    def __init__(self, num_tokens: int, seconds: float, step: int) -> None:
        self.num_tokens, self.seconds, self.step = num_tokens, seconds, step


class _Curve:
    """Estimates by number of tokens."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._begun: set[int] = set()

    def note(self, num_tokens: int, seconds: float, step: int) -> None:
        """Take in a run; the first of its size does not count, in which memory is set aside."""
        known = self._known.get(num_tokens)
        if known is not None:
            known.seconds += (FALLING if seconds < known.seconds else RISING) * (seconds - known.seconds)
            known.step = step
        elif num_tokens in self._begun:
            self._known[num_tokens] = _Known(num_tokens, seconds, step)
        else:
            self._begun.add(num_tokens)

    def nearest(self, num_tokens: int) -> _Known | None:
        """Return what is known of runs of so many tokens, or of those that come closest."""
        known = self._known.get(num_tokens)
        if known is None and self._known:
            known = min(self._known.values(), key=lambda each: abs(each.num_tokens - num_tokens))
        return known


def _believed(num_tokens: int) -> float:
    return 1 + ANOTHER_TOKEN * (num_tokens - 1)
