"""How long ONNX Runtime itself takes: what is left of a step is Python's."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from genai.runtime.addressed_device import AddressedDevice
from genai.runtime.binding import AddressBinding, ValueBinding

__all__ = ["timed_runs"]


@contextlib.contextmanager
def timed_runs() -> Iterator[list[float]]:
    """Yield a list to which every run of this process within the block adds its seconds inside ONNX Runtime.

    One such block at a time, and no run of another thread within it. The wait for a run that was launched is the run's.
    """
    seconds: list[float] = []

    def timed(run: Callable[[Any], None], *, begins: bool = True) -> Callable[[Any], None]:
        def timed_run(owner: Any) -> None:
            start = time.perf_counter()
            run(owner)
            elapsed = time.perf_counter() - start
            if begins:
                seconds.append(elapsed)
            elif seconds:
                seconds[-1] += elapsed

        return timed_run

    with (
        _replaced(AddressBinding, "run", timed(AddressBinding.run)),
        _replaced(ValueBinding, "run", timed(ValueBinding.run)),
        _replaced(AddressedDevice, "finish", timed(AddressedDevice.finish, begins=False)),
    ):
        yield seconds


@contextlib.contextmanager
def _replaced(owner: type, name: str, function: Callable[[Any], None]) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        setattr(owner, name, before)
