"""Regular expressions as values of options: strangers write them, and a short one may say a great deal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.config.checks import Texts
from genai.errors import OptionError

__all__ = ["Patterns", "pattern_size"]

_MAX_CHARACTERS = 10_000
_MAX_SIZE = 100_000
"""Most characters with counted repetitions written out, as the regex library compiles them: 0.3 s and 35 MB on a small CPU."""

_TOKEN = re.compile(
    r"\\(?:[pPN]\{[^}]*\}|.)|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\{(?P<least>\d*)(?:,(?P<most>\d*))?\}|.",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Patterns:
    """Regular expressions, none of which matches the empty text, and that do not take long to compile."""

    range = "regular expressions"

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of one or several texts; which are expressions it does not say."""
        return Texts().schema

    def __call__(self, name: str, value: Any) -> tuple[str, ...]:
        """Return the expressions as a tuple."""
        patterns = Texts()(name, value)
        if sum(map(len, patterns)) > _MAX_CHARACTERS or sum(map(pattern_size, patterns)) > _MAX_SIZE:
            raise OptionError(
                f"{name} is too large: at most {_MAX_CHARACTERS:,} characters of regular expressions, and {_MAX_SIZE:,} with "
                "repetitions such as {9} written out"
            )
        for pattern in patterns:
            import regex  # 20 ms that only those spend who have one

            try:
                compiled = regex.compile(pattern)
            except (regex.error, OverflowError, RecursionError) as error:
                raise OptionError(f"{name} {pattern!r} is no regular expression: {error}") from error
            if compiled.fullmatch("") is not None:
                raise OptionError(
                    f"{name} {pattern!r} matches the empty text, so that nothing could be generated"
                )
        return patterns


def pattern_size(pattern: str) -> int:
    r"""Return how many characters an expression is long once its counted repetitions are written out.

    It is an estimate, for an expression that may be wrong: groups, classes and escapes are told apart, and no more.

    >>> pattern_size("ab{3}"), pattern_size(r"(?:a{1000}){1,1000}"), pattern_size(r"[{9}]\{9}")
    (4, 1003000, 4)
    """
    open_groups = [0]  # the size of each group so far, the outermost first
    last = 0  # of the last item, which a repetition is of
    for found in _TOKEN.finditer(pattern):
        text = found[0]
        if text == "(":
            open_groups.append(0)
            last = 0
        elif text == ")" and len(open_groups) > 1:
            last = open_groups.pop() + 1
            open_groups[-1] += last
        elif found["least"] is not None and (found["least"] or found["most"]):
            count = max(int(number[:9]) for number in (found["least"], found["most"]) if number)
            open_groups[-1] += last * max(count - 1, 0)
            last *= max(count, 1)
        else:
            last = 1
            open_groups[-1] += 1
    return sum(open_groups)
