"""Times as Ollama's bodies have them: durations in Go's words or as seconds, nanoseconds, and dates."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

from genai.wire.fields import BodyError

__all__ = ["date", "nanoseconds", "read_keep_alive"]

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"([+-]?)((?:{_PART.pattern})+)")
_FOREVER = datetime(9999, 12, 31, tzinfo=UTC)


def read_keep_alive(value: Any) -> float | None:
    """Return for how many seconds a model is to stay after an answer; less than none is for ever, `None` is the server's.

    >>> read_keep_alive("1h30m"), read_keep_alive(0), read_keep_alive("-1s")
    (5400.0, 0.0, inf)

    Raises:
        BodyError: It is no duration.
    """
    if value is None:
        return None
    seconds: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = max(min(value, 1e12), -1.0) * 1.0
    elif isinstance(value, str) and len(value) < 100:
        if value.strip("+-").isdecimal():
            value += "s"
        if found := _DURATION.fullmatch(value):
            total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(found[2]))
            seconds = -total if found[1] == "-" else total
    if seconds is None or math.isnan(seconds):
        raise BodyError(
            f'keep_alive must be seconds or a duration such as "5m", not {value!r:.100}', "keep_alive"
        )
    return math.inf if seconds < 0 else seconds


def nanoseconds(seconds: float) -> int:
    """Return a duration in nanoseconds."""
    return max(0, round(seconds * 1e9))


def date(seconds: float) -> str:
    """Return a date of seconds since 1970; infinity is a very late one."""
    moment = _FOREVER if math.isinf(seconds) else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")
