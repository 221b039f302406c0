"""What a request tells, while it is answered, to the layers around its route: what it generates, and what went wrong.

It lies in the scope's state, so that routes know of nobody who watches.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genai.answering import Answering
from genai.engine import GenerationResult
from genai.wire import CompletionRequest, Operation

__all__ = ["ObservedGeneration", "note_error", "note_generation", "noted_error", "noted_generation"]

_GENERATION, _ERROR = "generation", "error"


@dataclass(slots=True)
class ObservedGeneration:
    """A request that generates.

    Args:
        operation: What it does.
        request: What it asks for.
        model: What the model is called.
        answering: How it is carried out, as soon as it is.
        results: How its prompts were continued, where all went well.
        begun: When it was known what it asks for, as `time.perf_counter` has it.
    """

    operation: Operation
    request: CompletionRequest
    model: str
    answering: Answering | None = None
    results: Sequence[GenerationResult] = ()
    begun: float = field(default_factory=time.perf_counter)


def note_generation(scope: MutableMapping[str, Any], generation: ObservedGeneration) -> None:
    """Tell what a request generates."""
    scope["state"][_GENERATION] = generation


def noted_generation(scope: MutableMapping[str, Any]) -> ObservedGeneration | None:
    """Return what a request generates, if it does."""
    found: ObservedGeneration | None = scope["state"].get(_GENERATION)
    return found


def note_error(scope: MutableMapping[str, Any], error: Exception) -> None:
    """Tell what ended a request."""
    scope["state"][_ERROR] = error


def noted_error(scope: MutableMapping[str, Any]) -> Exception | None:
    """Return what ended a request, if it was an error of a route's."""
    found: Exception | None = scope["state"].get(_ERROR)
    return found
