"""The check of an option that is one of a few words."""

from __future__ import annotations

from genai.errors import OptionError, did_you_mean

__all__ = ["check_one_of"]


def check_one_of(known: tuple[str, ...], **option: object) -> None:
    """See that an option, given by its name, is one of these.

    Raises:
        OptionError: It is not.

    >>> check_one_of(("speed", "memory"), optimize_for="sped")
    Traceback (most recent call last):
    genai.errors.OptionError: optimize_for must be one of speed, memory, not "sped". Did you mean "speed"?
    """
    ((name, value),) = option.items()
    if value not in known:
        raise OptionError(
            f'{name} must be one of {", ".join(known)}, not "{value}".{did_you_mean(str(value), known)}'
        )
