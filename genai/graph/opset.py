"""Which versions of ONNX and its operators the graphs have: pinned here, for every exporter."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["IR_VERSION", "MICROSOFT", "ONNX", "ONNX_DOMAINS", "OPSETS"]

ONNX = ""
ONNX_DOMAINS = (ONNX, "ai.onnx")
"""ONNX's own domain, under its two names."""

MICROSOFT = "com.microsoft"
"""The domain of the operators that ONNX Runtime adds."""

IR_VERSION = 10
OPSETS: Mapping[str, int] = {ONNX: 23, MICROSOFT: 1}
"""The version of each domain: 23 is the first with RMSNormalization, which ONNX's checker knows."""
