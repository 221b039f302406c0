"""What a method makes of one layer, from what its matrices read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.calibration.layer_run import LayerRun, Norm, ReadInput
from genai.calibration.parameters import Floats, Parameters, codes_arrays
from genai.quantize import BlockScheme
from genai.quantize.gptq import gptq
from genai.quantize.smoothing import choose_factors

__all__ = ["quantize_layer"]

SchemeOf = Callable[[str], BlockScheme | None]


def quantize_layer(
    run: LayerRun, parameters: Parameters, scheme_of: SchemeOf, *, method: str
) -> dict[str, NDArray[Any]]:
    """Return what becomes of a layer, as `genai.calibration.parameters` stores it.

    Args:
        run: What the layer read.
        parameters: The decoder's parameters as the checkpoint has them.
        scheme_of: How a module's matrix is to be calibrated; `None` for one that is not.
        method: "gptq": smoothing, then GPTQ; "awq": smoothing, and whoever writes the matrix rounds it to nearest.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for read in run.inputs:
        schemes = {path: scheme for path in read.modules if (scheme := scheme_of(path)) is not None}
        if not schemes:
            continue
        weights = {path: _matrix(parameters, path) for path in schemes}
        factors = np.ones(len(read.gram), np.float32)
        if read.norm is not None:
            factors = choose_factors([(weights[path], schemes[path]) for path in schemes], read.gram)
        is_smoothed = not np.all(factors == 1)
        if is_smoothed:
            arrays |= _smoothed(read, parameters, factors)
        if method == "gptq":
            hessian = read.gram / factors / factors[:, None]
            for scheme in dict.fromkeys(schemes.values()):
                alike = {path: weights[path] * factors for path in schemes if schemes[path] == scheme}
                arrays |= _quantized(alike, hessian, scheme)
            for path in schemes:
                arrays.pop(f"{path}.factors", None)
    return arrays


def _quantized(
    weights: Mapping[str, Floats], hessian: Floats, scheme: BlockScheme
) -> dict[str, NDArray[Any]]:
    """Return what is stored of matrices that read the same inputs; stacked, they are one matrix."""
    matrix = gptq(np.concatenate(list(weights.values())), hessian, scheme)
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    for path, rows in weights.items():
        arrays |= codes_arrays(path, matrix, slice(start, start + len(rows)))
        start += len(rows)
    return arrays


def _smoothed(read: ReadInput, parameters: Parameters, factors: Floats) -> dict[str, NDArray[Any]]:
    """Return the norm, whose outputs become smaller by the factors, and what multiplies its readers' columns by them."""
    assert read.norm is not None
    arrays = {f"{path}.factors": factors for path in read.modules}
    return arrays | {
        f"{name}.values": _divided(np.asarray(parameters[name][:], np.float32), read.norm, name, factors)
        for name in (read.norm.weight, read.norm.bias)
        if name is not None
    }


def _divided(stored: Floats, norm: Norm, name: str, factors: Floats) -> Floats:
    """Return what to store so that what the norm computes with is divided; they differ where 1 is added to what is stored."""
    used = norm.values[name]
    return stored + (used / factors - used)


def _matrix(parameters: Parameters, path: str) -> Floats:
    return np.asarray(parameters[f"{path}.weight"][:], np.float32)
