"""The devices that providers run on, by name, with their memory: for a person to recognize."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from genai.runtime.providers.choice import ProviderStatus
from genai.runtime.providers.libraries import library_devices
from genai.runtime.providers.provider import Provider

__all__ = [
    "SOFTWARE_ADAPTER",
    "Hardware",
    "cpu_name",
    "free_host_bytes",
    "host_memory_bytes",
    "provider_hardware",
]

MEMORY_FILE = Path("/proc/meminfo")
GROUP_FOLDER = Path("/sys/fs/cgroup")
CUDA_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
NAME_BYTES = 256

SOFTWARE_ADAPTER = "software adapter"
"""The kind of a GPU that is played by a program on the CPU: for tests, since the CPU itself is faster."""

SOFTWARE_NAMES = re.compile(r"swiftshader|llvmpipe|lavapipe|basic render", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device.

    Args:
        name: What its maker, or the operating system, calls it.
        kind: "CPU", "GPU", "NPU", or SOFTWARE_ADAPTER.
        memory_bytes: Its memory; None if nobody says.
    """

    name: str
    kind: str
    memory_bytes: int | None = None


def provider_hardware(status: ProviderStatus) -> list[Hardware]:
    """Return the devices that an available provider has, by device id; an empty list if nobody names them."""
    provider = status.provider
    if not status.available:
        return []
    if devices := library_devices(provider.ort_name):
        return [_hardware(device.device, provider) for device in devices]
    if provider.name == "cpu":
        return [Hardware(cpu_name(), "CPU", host_memory_bytes())]
    return _cuda_devices() if provider.name in ("cuda", "tensorrt") else []


def cpu_name() -> str:
    """Return what the processor calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def host_memory_bytes() -> int | None:
    """Return the size of the host's memory, None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


def free_host_bytes() -> int | None:
    """Return how much of the host's memory programs may still take, in a container too; None where nobody tells."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", MEMORY_FILE.read_text(), re.MULTILINE)
    except OSError:
        return None
    if not found:
        return None
    free = int(found[1]) * 1024
    with contextlib.suppress(OSError, ValueError):  # no group, or one without a limit ("max")
        limit, used = (int((GROUP_FOLDER / f"memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, max(limit - used, 0))
    return free


def _hardware(device: object, provider: Provider) -> Hardware:
    """Describe an OrtHardwareDevice, whose metadata say more on some systems than on others."""
    kind = str(getattr(device, "type", "")).rpartition(".")[2]
    metadata = getattr(device, "metadata", {})
    if kind == "CPU":
        played = SOFTWARE_ADAPTER if provider.needs_gpu else kind
        return Hardware(cpu_name(), played, host_memory_bytes())
    known = metadata.get("Description") or f"{getattr(device, 'vendor', '')} {kind}".strip()
    return Hardware(known, SOFTWARE_ADAPTER if SOFTWARE_NAMES.search(known) else kind)


@functools.cache
def _cuda_driver() -> ctypes.CDLL | None:
    for name in CUDA_DRIVERS if sys.platform != "darwin" else ():
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    return None


def _cuda_devices() -> list[Hardware]:
    """Ask NVIDIA's driver, whose functions return 0 where they succeed."""
    driver, count = _cuda_driver(), ctypes.c_int()
    found: list[Hardware] = []
    try:
        if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return []
        for index in range(count.value):
            name, size = ctypes.create_string_buffer(NAME_BYTES), ctypes.c_size_t()
            if driver.cuDeviceGetName(name, NAME_BYTES, index):
                continue
            has_size = not driver.cuDeviceTotalMem_v2(ctypes.byref(size), index)
            found.append(
                Hardware(name.value.decode(errors="replace"), "GPU", size.value if has_size else None)
            )
    except AttributeError:  # a driver without these functions
        return []
    return found
