"""Weight quantization: schemes, quantized matrices as values, and the arithmetic that rounds float rows.

Pure numpy on rows of a matrix; nothing here knows graphs, checkpoints or files.
"""

from __future__ import annotations

from genai.quantize.matrix import Layout, QuantizedMatrix, quantize_matrix
from genai.quantize.packing import pack_codes, unpack_codes
from genai.quantize.rtn import QuantizedRows, dequantize_rows, quantize_rows, round_to_nearest
from genai.quantize.scheme import BlockScheme

__all__ = [
    "BlockScheme",
    "Layout",
    "QuantizedMatrix",
    "QuantizedRows",
    "dequantize_rows",
    "pack_codes",
    "quantize_matrix",
    "quantize_rows",
    "round_to_nearest",
    "unpack_codes",
]
