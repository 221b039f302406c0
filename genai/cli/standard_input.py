"""Text that comes through standard input."""

from __future__ import annotations

import sys

from genai.errors import OptionError

__all__ = ["read_standard_input"]


def read_standard_input() -> str:
    """Return all of standard input as text, without the newline that `echo` ends it with.

    Raises:
        OptionError: It is no UTF-8.
    """
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError(f"standard input is not UTF-8 text: {error}") from error
    text = text.replace("\r\n", "\n")
    return text.removesuffix("\n")
