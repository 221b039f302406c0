"""What a pass says where it cannot prove its preconditions; it never leaves the passes."""

from __future__ import annotations

__all__ = ["Unprovable"]


class Unprovable(Exception):  # noqa: N818 - an answer, and no error of the program
    """Something that a pass needs is not so, or cannot be shown; the text says what."""
