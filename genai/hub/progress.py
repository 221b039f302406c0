"""How long work reports that it goes on: one small callback for downloads and exports alike.

It owns the callback's type and its adaptation to huggingface_hub's progress bars, which are also the only hold on a
download that is to be given up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Progress"]

Progress = Callable[[str, int, int], None]
"""Called with what is going on (one line, the same while it goes on), bytes done, and bytes in total.

A total of 0 says that it is not known (such as while waiting for another process). Calls may come from several
threads, but never at the same time.
"""


class Cancelled(Exception):  # noqa: N818
    """A download was given up; it ends the threads that are at it."""


class DownloadBars:
    """What takes the place of huggingface_hub's progress bars during one download.

    Args:
        what: What is going on, for the callback.
        total_bytes: How much is to be downloaded.
        progress: The callback, if any.
        drawn: Let huggingface_hub draw its bars.
    """

    def __init__(
        self, what: str = "", total_bytes: int = 0, *, progress: Progress | None = None, drawn: bool = False
    ) -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._progress = progress
        self._drawn = drawn
        self._cancelled = False
        self._lock = threading.Lock()
        self._most = 0

    def cancel(self) -> None:
        """End the threads that are downloading, each at its next piece (10 MB)."""
        self._cancelled = True

    def advance(self, num_bytes: int) -> None:
        """Take note of what one of the bars has counted."""
        if self._cancelled:
            raise Cancelled
        with self._lock:
            # There are two bars of bytes, as received and as written; the one that is further counts.
            if num_bytes > self._most and self._progress is not None:
                self._most = num_bytes
                self._progress(self._what, min(num_bytes, self._total_bytes), self._total_bytes)

    def make_class(self) -> type[Any]:
        """Return the class that huggingface_hub makes its bars of."""
        from huggingface_hub.utils.tqdm import tqdm

        owner = self

        class Bar(tqdm):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                self._counts_bytes = kwargs.get("unit") == "B"
                self._num_bytes = 0
                options = kwargs if owner._drawn else {**kwargs, "disable": True}
                super().__init__(*args, **options)  # type: ignore[no-untyped-call]

            def update(self, n: float | None = 1) -> bool | None:
                self._num_bytes += int(n or 0)
                if self._counts_bytes:
                    owner.advance(self._num_bytes)
                return super().update(n)  # type: ignore[no-any-return]

        return Bar
