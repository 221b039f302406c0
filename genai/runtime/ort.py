"""The import of ONNX Runtime, in one place: says what to install where it is missing, and turns telemetry off."""

from __future__ import annotations

import os

from genai.errors import ProviderError

__all__ = ["ORT_ERRORS", "RUN_ERRORS", "onnxruntime", "ort_state"]

# Read by ONNX Runtime while it loads: without it, events are written to the user's cache folder before any call could
# turn them off.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as ort_state
except ImportError as error:
    raise ProviderError(
        "ONNX Runtime is not installed. Install the build for this machine, and only one: pip install onnxruntime (any "
        'machine), "onnxruntime-gpu[cuda,cudnn]" (NVIDIA), onnxruntime-directml (Windows GPU) or onnxruntime-openvino '
        f"(Intel); in a checkout of genai, its extras cpu, cuda, directml and openvino do. [{error}]"
    ) from error

onnxruntime.disable_telemetry_events()

ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    ort_state.EPFail,
)
"""What ONNX Runtime raises; its exceptions have no common base of their own."""

RUN_ERRORS: tuple[type[Exception], ...] = (RuntimeError, *ORT_ERRORS)
"""The same with what runs and allocations raise besides."""
