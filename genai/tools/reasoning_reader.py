"""Reading what a model thinks, up to the marker that ends it."""

from __future__ import annotations

from typing import Protocol

from genai.tools.markers import Markers
from genai.tools.source import Reading, Source

__all__ = ["read_reasoning"]


class Tell(Protocol):
    """Takes a piece of reasoning."""

    def __call__(self, text: str, *, is_first: bool) -> None:
        """Take it."""


def read_reasoning(source: Source, end: str, tell: Tell) -> Reading[bool]:
    """Tell reasoning up to its end, without the space at its ends; return whether the end has come."""
    markers = Markers([end])
    space, is_first = "", True
    while True:
        source.drop_read()
        start, marker = markers.find(source.text, is_finished=source.is_finished)
        text = space + source.text[:start]
        text = text.lstrip() if is_first else text
        told = text.rstrip()
        space = text[len(told) :]
        if told:
            tell(told, is_first=is_first)
            is_first = False
        source.position = start + len(marker or "")
        if marker is not None or source.is_finished:
            return marker is not None
        yield
