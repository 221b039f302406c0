"""What a model runs on, by the names that `Generator` has for it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from genai.config.choices import check_one_of
from genai.errors import OptionError, did_you_mean

__all__ = ["OPTIMIZE_FOR", "SHARE_OF_FREE_MEMORY", "RunOptions", "check_optimize_for", "check_run_options"]

OPTIMIZE_FOR = ("auto", "speed", "memory")
"""What `optimize_for` may be: "speed" holds weights twice where that makes prompts and batches faster, "memory" once, and
"auto" twice where enough memory is free."""

SHARE_OF_FREE_MEMORY = 0.25
"""Of the memory that is free, what "auto" lets the second weights take."""


class RunOptions(TypedDict, total=False):
    """Options of `Generator` that say what a model runs on; its defaults stand for those that are left out."""

    provider: str
    device_id: int
    provider_library: str | Path | None
    strict: bool
    num_threads: int | None
    optimize_for: str


def check_run_options(kind: type[RunOptions] = RunOptions, /, **options: object) -> None:
    """See that there are no others than those of `RunOptions`, or of a kind of them that has more.

    Raises:
        OptionError: One is unknown.

    >>> check_run_options(provder="cpu")
    Traceback (most recent call last):
    genai.errors.OptionError: unknown option "provder". Did you mean "provider"?
    """
    known = kind.__annotations__
    for name in options:
        if name not in known:
            raise OptionError(f'unknown option "{name}".{did_you_mean(name, known)}')


def check_optimize_for(optimize_for: object) -> None:
    """See that it is one of `OPTIMIZE_FOR`.

    Raises:
        OptionError: It is not.
    """
    check_one_of(OPTIMIZE_FOR, optimize_for=optimize_for)
