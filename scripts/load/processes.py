"""What a process and its children use, as Linux tells in /proc."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Usage", "cpu_seconds", "measure_usage", "resident_bytes", "tree"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server and its client used.

    Args:
        client_cores: Processor time of the client over time.
        cores: The same of all the server's processes; `None` of a server that was there before.
        peak_bytes: The most that was resident of them, mapped files among it.
    """

    client_cores: float
    cores: float | None = None
    peak_bytes: int | None = None


async def measure_usage(pid: int | None, *, after: float, seconds: float) -> Usage:
    """Wait, then measure for so long what this process and a server's use."""
    await asyncio.sleep(after)
    begin, own = time.perf_counter(), time.process_time()
    before = cpu_seconds(pid) if pid is not None else 0.0
    await asyncio.sleep(seconds)
    passed = time.perf_counter() - begin
    client_cores = (time.process_time() - own) / passed
    if pid is None:
        return Usage(client_cores)
    return Usage(client_cores, (cpu_seconds(pid) - before) / passed, peak_bytes(pid))


def tree(pid: int) -> list[int]:
    """Return a process and all that it started, as far as they are there."""
    found = [pid]
    for each in found:  # which grows meanwhile
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def resident_bytes(pid: int) -> int:
    """Return what is resident now of a process and its children."""
    return sum(int(_read(each, "statm").split()[1]) * _PAGE for each in tree(pid) if _read(each, "statm"))


def peak_bytes(pid: int) -> int:
    """Return the sum of the most that each of a process and its children had resident."""
    return sum(_peak(each) for each in tree(pid))


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its children so far."""
    return sum(_ticks(each) for each in tree(pid)) / _TICKS


def _peak(pid: int) -> int:
    _, found, rest = _read(pid, "status").partition("VmHWM:")
    return int(rest.split()[0]) * 1024 if found else 0


def _ticks(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()  # behind the name, which may hold anything
    return int(fields[11]) + int(fields[12]) if fields else 0


def _read(pid: int, name: str) -> str:
    """Return a file about a process; nothing of one that has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text()
    return ""
