"""Plug-in libraries of execution providers: found among the installed packages or by path, registered once.

ONNX Runtime keeps a registered library for the whole process, and a second registration of the same one leaves it
broken: hence the caches here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genai.errors import ProviderError
from genai.runtime.ort import ORT_ERRORS, onnxruntime

__all__ = ["find_plugin", "has_plugin", "library_devices", "quiet", "register_library"]

FATAL, WARNING = 4, 2


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep ONNX Runtime's own log off the screen while something is tried that may fail, and is reported then."""
    onnxruntime.set_default_logger_severity(FATAL)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(WARNING)


def has_plugin(package: str) -> bool:
    """Whether a plug-in's package is installed; it is not imported."""
    return importlib.util.find_spec(_module(package)) is not None


def find_plugin(package: str) -> str:
    """Return the path of an installed plug-in's library.

    Raises:
        ProviderError: The package has none for this machine.
    """
    try:
        return str(importlib.import_module(_module(package)).get_library_path())
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise ProviderError(f"{package} has no library for this machine: {error}") from error


def register_library(path: str | Path) -> list[str]:
    """Register a library, unless it is, and return the names of the providers that have devices here.

    Raises:
        ProviderError: It is not there, or ONNX Runtime cannot load it.
    """
    resolved = str(Path(path).expanduser().resolve())
    if not Path(resolved).is_file():
        raise ProviderError(f"{path} is not there: give the path of an execution provider's library")
    if not _names_in(resolved):
        _register(resolved)
    return _names_in(resolved)


def library_devices(ort_name: str) -> list[Any]:
    """Return the devices (OrtEpDevice) that registered libraries offer for a provider."""
    return [
        device
        for device in onnxruntime.get_ep_devices()
        if device.ep_name == ort_name and "library_path" in device.ep_metadata
    ]


@functools.cache
def _register(path: str) -> None:
    with quiet():
        try:
            onnxruntime.register_execution_provider_library(f"genai:{path}", path)
        except ORT_ERRORS as error:
            raise ProviderError(f"ONNX Runtime cannot load the library {path}: {error}") from error


def _names_in(path: str) -> list[str]:
    names = (
        device.ep_name
        for device in onnxruntime.get_ep_devices()
        if Path(device.ep_metadata.get("library_path", "")).resolve() == Path(path)
    )
    return list(dict.fromkeys(names))


def _module(package: str) -> str:
    return package.replace("-", "_")
