"""Quantization with calibration: what a text makes of a decoder's layers decides how their weights are rounded.

It is where exporter and runtime meet: layers are built as graphs and run one after the other, their matrices are
quantized by what goes into them, and the export stores the outcome as it stores what another tool quantized.
"""

from genai.calibration.corpus import CalibrationText, packaged_text, read_calibration_text
from genai.calibration.export import export_calibrated

__all__ = ["CalibrationText", "export_calibrated", "packaged_text", "read_calibration_text"]
