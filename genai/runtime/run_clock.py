"""How long ONNX Runtime itself takes: what is left of a step is Python's."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from genai.runtime.binding import AddressBinding

__all__ = ["timed_runs"]


@contextlib.contextmanager
def timed_runs() -> Iterator[list[float]]:
    """Yield a list to which every run of this process within the block adds its seconds inside ONNX Runtime.

    One such block at a time, and no run of another thread within it. A run that is launched and not waited for counts as
    long as launching it takes.
    """
    seconds: list[float] = []
    run = AddressBinding.run

    def timed_run(binding: AddressBinding) -> None:
        start = time.perf_counter()
        run(binding)
        seconds.append(time.perf_counter() - start)

    AddressBinding.run = timed_run  # type: ignore[method-assign, assignment]
    try:
        yield seconds
    finally:
        AddressBinding.run = run  # type: ignore[method-assign]
