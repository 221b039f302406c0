"""Weight quantization: schemes, and the arithmetic that turns float rows into codes and scales.

Pure numpy on rows of a matrix; nothing here knows graphs, checkpoints or files.
"""

from __future__ import annotations

from genai.quantize.rtn import dequantize_rows, quantize_rows, quantize_scales
from genai.quantize.scheme import BlockScheme

__all__ = ["BlockScheme", "dequantize_rows", "quantize_rows", "quantize_scales"]
