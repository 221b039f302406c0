"""A decoder's parameters after a calibration: codes, scaled matrices, and norms that make up for the scaling.

What became of a layer is a dictionary of arrays, which can be stored and read back: `{path}.codes`, `.scales` and
`.zero_points` of a matrix that was quantized, `{path}.factors` and `{path}.divisors` of one whose columns were multiplied
and rows divided, `{name}.values` of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.export.checkpoint.rows import CodedRows, Rows
from genai.quantize import BlockScheme, QuantizedMatrix

__all__ = ["Arrays", "Floats", "Parameters", "ScaledRows", "codes_arrays", "restore"]

Floats = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]
Parameters = Mapping[str, Rows]


@dataclass(frozen=True, slots=True)
class ScaledRows:
    """A matrix whose columns are multiplied and whose rows are divided.

    Args:
        source: The matrix.
        factors: float32 [columns].
        divisors: float32 [rows].
    """

    source: Rows
    factors: Floats
    divisors: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: slice | tuple[slice, slice]) -> Floats:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        scaled = np.asarray(self.source[key], np.float32) * self.factors[columns]
        return scaled / self.divisors[rows, None]


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
        parameters: The decoder's parameters as the checkpoint has them.
        scheme_of: How a module's matrix was quantized.
    """
    restored: dict[str, Rows] = {}
    for key, array in arrays.items():
        name, _, kind = key.rpartition(".")
        if kind == "values":
            restored[name] = array
        elif kind == "factors":
            source = parameters[f"{name}.weight"]
            restored[f"{name}.weight"] = ScaledRows(source, array, arrays[f"{name}.divisors"])
        elif kind == "codes":
            num_columns, scheme = parameters[f"{name}.weight"].shape[1], scheme_of(name)
            assert scheme is not None, f"{name} has codes"
            scales, points = arrays[f"{name}.scales"], arrays.get(f"{name}.zero_points")
            matrix = QuantizedMatrix(scheme, num_columns, array, scales, points)
            restored[f"{name}.weight"] = CodedRows(matrix)
    return restored
