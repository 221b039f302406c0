"""Checkpoints that another tool quantized: `quantization_config`, and the parts in which each format stores a matrix.

One file per format. Each finds its modules by the name of one part, and makes of the parts one view of rows, which is
decoded where it is looked at; where ONNX Runtime's kernels hold the codes, the view carries them. Knows no family.
"""

from __future__ import annotations

from genai.export.checkpoint.quantized.checkpoint import QuantizedCheckpoint
from genai.export.checkpoint.quantized.methods import read_format

__all__ = ["QuantizedCheckpoint", "read_format"]
