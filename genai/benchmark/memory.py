"""How much memory a process takes and has taken at most, as the system tells."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MemoryUse", "memory_use"]

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """The resident memory of a process, in bytes; None is what the system does not tell.

    Args:
        peak_bytes: The most that was resident at a time, mapped files included.
        mapped_file_bytes: Mapped files that are resident now, such as weights: pages of the system's cache, which it can
            take back and which other processes share.
    """

    peak_bytes: int | None
    mapped_file_bytes: int | None


def memory_use() -> MemoryUse:
    """Return what this process takes."""
    if _STATUS.is_file():
        return parse_status(_STATUS.read_text(encoding="utf-8"))
    if sys.platform == "win32":
        return MemoryUse(None, None)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return MemoryUse(peak if sys.platform == "darwin" else 1024 * peak, None)


def parse_status(text: str) -> MemoryUse:
    """Read what Linux says of a process.

    >>> parse_status("VmHWM: 2 kB" + chr(10) + "RssFile: 1 kB")
    MemoryUse(peak_bytes=2048, mapped_file_bytes=1024)
    """
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    peak, mapped = (
        1024 * int(values[key].split()[0]) if key in values else None for key in ("VmHWM", "RssFile")
    )
    return MemoryUse(peak, mapped)
