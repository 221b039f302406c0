"""Runs that a device records and replays (CUDA graphs): by which thread, under which number, and what waits meanwhile.

ONNX Runtime records so that no other thread of the process may allocate, copy or wait for a device while it does
(cudaStreamCaptureModeGlobal). And it keeps a context with its recorded runs for each thread that runs such a session, and
frees neither before the session: so the thread that comes first runs the session itself, and one other for all others.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

from genai.runtime.ort import onnxruntime

__all__ = ["DEVICE_GATE", "Recorder"]

logger = logging.getLogger("genai.runtime")

MAX_RECORDED = 128
"""Runs that one session keeps. CUDA's are never freed: whatever is bound after that many runs as it is."""

NOT_RECORDED = -1


class _Gate:
    """Lets any number of threads use devices, or one record: `with gate:` and `with gate.alone():`."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._num_inside = 0

    def __enter__(self) -> None:
        with self._changed:
            self._num_inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._num_inside -= 1
            if not self._num_inside:
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody is inside, and keep everybody out."""
        with self._changed:
            while self._num_inside:
                self._changed.wait()
            yield


DEVICE_GATE = _Gate()
"""The process's, since CUDA's rule is the process's: whatever touches a device's memory from the host goes through it."""


class Recorder:
    """Runs bindings of one session that records. A replay is launched; whoever asks the device next waits for it.

    Args:
        session: ONNX Runtime's session.
        launched: Called with each binding whose run was launched, and not waited for, where that is possible.
    """

    def __init__(self, session: Any, launched: Callable[[Any], None] | None = None) -> None:
        self._session = session
        self._launched = launched
        self._last_number = 0
        self._num_recorded = 0
        self._has_warned = False
        self._owner: threading.Thread | None = None
        self._others: ThreadPoolExecutor | None = None
        self._known: set[tuple[int, bool]] = set()

    def next_number(self, *, is_repeated: bool) -> int:
        """Return the number of a new binding's runs; numbers are never used again."""
        if not is_repeated:
            return NOT_RECORDED
        if self._num_recorded == MAX_RECORDED:
            if not self._has_warned:
                logger.warning(
                    "%d runs are recorded, and no more will be: steps take longer now", MAX_RECORDED
                )
            self._has_warned = True
            return NOT_RECORDED
        self._num_recorded += 1
        self._last_number += 1
        return self._last_number

    def release(self, number: int) -> None:
        """Forget the runs of a number, where the device can: it frees what they read and wrote."""
        if number != NOT_RECORDED:
            self._session.release_captured_graph(number)
            self._known -= {(number, True), (number, False)}
            self._num_recorded -= 1

    def options(self, number: int, *, waits: bool = False) -> Any:
        """Return the options of runs of a number; of replays, unless they are to be waited for, those that only launch."""
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(number))
        if number != NOT_RECORDED and self._launched is not None and not waits:
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        return options

    def run(self, binding: Any, number: int, options: Any) -> None:
        """Run a binding: record it the first time, replay it from then on."""
        if self._owner is None:
            self._owner = threading.current_thread()
        if threading.current_thread() is self._owner:
            self._run_here(binding, number, options, is_owner=True)
            return
        if self._others is None:
            self._others = ThreadPoolExecutor(1, thread_name_prefix="genai-device")
        future = self._others.submit(self._run_here, binding, number, options, is_owner=False)
        try:
            future.result()
        finally:
            wait([future])  # to its end: who interrupts the wait may free what is read

    def _run_here(self, binding: Any, number: int, options: Any, *, is_owner: bool) -> None:
        """Run in this thread, which is the owner or the one of all others: each has recorded runs of its own."""
        if number == NOT_RECORDED:
            with DEVICE_GATE:
                self._session.run_with_iobinding(binding, options)
        elif (number, is_owner) in self._known:
            with DEVICE_GATE:
                if self._launched is not None:
                    self._launched(binding)
                self._session.run_with_iobinding(binding, options)
        else:
            with DEVICE_GATE.alone():
                self._session.run_with_iobinding(binding, self.options(number, waits=True))
            self._known.add((number, is_owner))
