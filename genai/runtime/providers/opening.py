"""A session on a provider, built in or of a plug-in: made there, or not at all."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from typing import Any

from genai.errors import OptionError, ProviderError
from genai.runtime.ort import RUN_ERRORS, onnxruntime
from genai.runtime.providers.libraries import library_devices, quiet
from genai.runtime.providers.provider import Provider

__all__ = ["CANNOT_LOAD", "CUDA_BUILD", "OPEN_ERRORS", "open_session", "quiet_options"]

CUDA_BUILD = "onnxruntime-gpu[cuda,cudnn]"

CANNOT_LOAD = "ONNX Runtime has it, but cannot load it"

OPEN_ERRORS: tuple[type[Exception], ...] = (ProviderError, ValueError, *RUN_ERRORS)
"""What `open_session` may raise where a provider does not take a model."""


def quiet_options() -> Any:
    """Return new session options that print nothing: what fails is raised, and reported once."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options


def open_session(
    model: bytes,
    provider: Provider,
    options: Any,
    *,
    device_id: int = 0,
    provider_options: Mapping[str, str] | None = None,
) -> Any:
    """Return a session of a serialized model on one device of a provider.

    Args:
        model: The model.
        provider: What runs it; nodes that it has no kernels for run on the CPU.
        options: New session options, which are changed.
        device_id: Which of the provider's devices.
        provider_options: Further options of the provider.

    Raises:
        OptionError: There is no such device.
        ProviderError: The provider cannot be loaded.
        Exception: One of OPEN_ERRORS: it does not take the model.
    """
    if device_id and not provider.takes_device_id:
        raise OptionError(f'device_id must be 0 for provider "{provider.name}", not {device_id}')
    if device_id < 0:
        raise OptionError(f"device_id must be at least 0, not {device_id}")
    devices, missing = library_devices(provider.ort_name), list[str]()
    if devices and device_id >= len(devices):
        raise OptionError(
            f'device_id must be less than {len(devices)}, the number of devices of provider "{provider.name}", not '
            f"{device_id}"
        )
    for entry, value in provider.session_entries.items():
        if not _is_set(options, entry):
            options.add_session_config_entry(entry, value)
    with quiet():
        # Without ONNX Runtime's own fallback, which prints what happened and runs on the CPU.
        if devices:
            options.add_provider_for_devices(
                [devices[device_id]], {**(provider_options or {}), **provider.options}
            )
            session = onnxruntime.InferenceSession(model, options, enable_fallback=0)
        else:
            missing = _preload_libraries() if provider.build == CUDA_BUILD else []
            chosen = {**(provider_options or {}), **provider.session_options(device_id)}
            providers = [(provider.ort_name, chosen), *provider.companions]
            session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    if session.get_providers()[0] != provider.ort_name:
        named = f" ({', '.join(missing)})" if missing else ""
        raise ProviderError(f"{CANNOT_LOAD}: {provider.needs}{named}")
    session._model_bytes = None  # kept for a fallback that runs through bindings never take
    return session


def _is_set(options: Any, entry: str) -> bool:
    """Whether session options have an entry of their configuration."""
    with contextlib.suppress(*RUN_ERRORS):
        options.get_session_config_entry(entry)
        return True
    return False


def _preload_libraries() -> list[str]:
    """Load CUDA's libraries from NVIDIA's packages, and return which are missing: ONNX Runtime prints that."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        onnxruntime.preload_dlls()
    return re.findall(r"Failed to load ([^\s:]+):", printed.getvalue())
