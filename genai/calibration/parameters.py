"""A decoder's parameters after a calibration: codes, scaled matrices, and norms that make up for the scaling.

What became of a layer is a dictionary of arrays, which can be stored and read back: `{path}.codes`, `.scales` and
`.zero_points` of a matrix that was quantized, `{path}.factors` and `{path}.divisors` of one whose columns were multiplied
and rows divided, `{name}.values` of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.export.checkpoint.rows import CodedRows, RescaledRows, Rows
from genai.quantize import BlockScheme, QuantizedMatrix

__all__ = ["Arrays", "Floats", "Parameters", "codes_arrays", "restore"]

Floats = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]
Parameters = Mapping[str, Rows]


def codes_arrays(path: str, matrix: QuantizedMatrix, rows: slice) -> dict[str, NDArray[Any]]:
    """Return what is stored of a module's quantized matrix: these rows of one that is held in memory."""
    parts = {"codes": matrix.codes, "scales": matrix.scales, "zero_points": matrix.zero_points}
    return {f"{path}.{kind}": np.asarray(part[rows]) for kind, part in parts.items() if part is not None}


def restore(
    arrays: Arrays, parameters: Parameters, scheme_of: Callable[[str], BlockScheme | None]
) -> dict[str, Rows]:
    """Return the parameters that a layer's arrays stand for, by name.

    Args:
        arrays: What became of the layer.
        parameters: The decoder's parameters before the calibration.
        scheme_of: How a module's matrix was quantized.
    """
    restored: dict[str, Rows] = {}
    for key, array in arrays.items():
        name, _, kind = key.rpartition(".")
        if kind == "values":
            restored[name] = array
        elif kind == "factors":
            source = parameters[f"{name}.weight"]
            restored[f"{name}.weight"] = RescaledRows(source, array, arrays[f"{name}.divisors"])
        elif kind == "codes":
            num_columns, scheme = parameters[f"{name}.weight"].shape[1], scheme_of(name)
            assert scheme is not None, f"{name} has codes"
            scales, points = arrays[f"{name}.scales"], arrays.get(f"{name}.zero_points")
            matrix = QuantizedMatrix(scheme, num_columns, array, scales, points)
            restored[f"{name}.weight"] = CodedRows(matrix)
    return restored
