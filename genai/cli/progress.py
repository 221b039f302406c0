"""Progress of downloads, exports and checks: a bar or a line on a terminal, at most one line per stage elsewhere.

rich is imported with the first bar, so that a model that is already here costs nothing.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from genai.cli.output import format_bytes, is_terminal, print_note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.status import Status

__all__ = ["StageProgress", "StatusLine"]


class StageProgress:
    """Shows how far each stage of some work is; a context manager that takes the bars away when it ends.

    Args:
        is_quiet: Without a terminal, write nothing at all instead of one line per stage.
        unit: What is counted: "bytes", or anything that comes in whole numbers.
    """

    def __init__(self, *, is_quiet: bool = False, unit: str = "bytes") -> None:
        self._is_quiet = is_quiet
        self._unit = unit
        self._stages: dict[str, TaskID | None] = {}
        self._bars: Progress | None = None

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Show that `done` of `total` bytes (or other units) of a stage are done; a total of 0 is not known."""
        if stage not in self._stages:
            self._stages[stage] = self._begin(stage, total)
        task = self._stages[stage]
        if self._bars is not None and task is not None:
            self._bars.update(task, completed=done, total=total or None, detail=detail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def _begin(self, stage: str, total: int) -> TaskID | None:
        if not is_terminal(sys.stderr):
            if not self._is_quiet:
                amount = format_bytes(total) if self._unit == "bytes" else f"{total} {self._unit}"
                print_note(f"{stage} ({amount})" if total else stage)
            return None
        if self._bars is None:
            self._bars = _make_bars(self._unit)
            self._bars.start()
        return self._bars.add_task(stage, total=total or None, detail="")


class StatusLine:
    """Says on a terminal what is done now, in one line that goes away; a context manager. Elsewhere it is silent."""

    def __init__(self) -> None:
        self._status: Status | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show a stage, but not how far it is."""
        del done, total
        if not is_terminal(sys.stderr):
            return
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status(stage)
            self._status.start()
        self._status.update(stage)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()


def _make_bars(unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    amounts = [DownloadColumn()] if unit == "bytes" else [MofNCompleteColumn(), TextColumn(unit)]
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *amounts,
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
