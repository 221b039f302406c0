"""What a method makes of one layer, from what its matrices read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.calibration.layer_run import ReadInput
from genai.calibration.parameters import Floats, Parameters, codes_arrays
from genai.export.build.rescaling import Rescaling
from genai.quantize import BlockScheme
from genai.quantize.gptq import gptq
from genai.quantize.smoothing import choose_factors

__all__ = ["quantize_layer"]

SchemeOf = Callable[[str], BlockScheme | None]
Arrays = dict[str, NDArray[Any]]


def quantize_layer(
    inputs: Sequence[ReadInput], parameters: Parameters, scheme_of: SchemeOf, *, method: str
) -> Arrays:
    """Return what becomes of a layer, as `genai.calibration.parameters` stores it.

    Args:
        inputs: What the layer's matrices read.
        parameters: The decoder's parameters before the calibration.
        scheme_of: How a module's matrix is to be calibrated; `None` for one that is not.
        method: "gptq": smoothing, then GPTQ; "awq": smoothing, and whoever writes the matrix rounds it to nearest.
    """
    rescaling = _smoothing(inputs, parameters, scheme_of)
    arrays: Arrays = {f"{name}.values": values for name, values in rescaling.vectors().items()}
    for read in inputs:
        schemes = {path: scheme for path in read.modules if (scheme := scheme_of(path)) is not None}
        coded = schemes if method == "gptq" else {}
        for path in read.modules:
            if path not in coded and path in rescaling.modules:
                scaled = rescaling.matrix(path)
                arrays |= {f"{path}.factors": scaled.factors, f"{path}.divisors": scaled.divisors}
        for scheme in dict.fromkeys(coded.values()):
            alike = {path: rescaling.matrix(path)[:] for path in coded if coded[path] == scheme}
            arrays |= _quantized(alike, _hessian(read, rescaling.factors_of(read.modules[0])), scheme)
    return arrays


def _quantized(weights: Mapping[str, Floats], hessian: Floats, scheme: BlockScheme) -> Arrays:
    """Return what is stored of matrices that read the same inputs; stacked, they are one matrix."""
    matrix = gptq(np.concatenate(list(weights.values())), hessian, scheme)
    arrays: Arrays = {}
    start = 0
    for path, rows in weights.items():
        arrays |= codes_arrays(path, matrix, slice(start, start + len(rows)))
        start += len(rows)
    return arrays


def _smoothing(inputs: Sequence[ReadInput], parameters: Parameters, scheme_of: SchemeOf) -> Rescaling:
    """Choose by what the columns of a layer's matrices are multiplied."""
    rescaling = Rescaling(parameters)
    for read in inputs:
        rounded = [(path, scheme) for path in read.modules if (scheme := scheme_of(path)) is not None]
        if read.producer is None or not rounded:
            continue
        weights = [(_matrix(parameters, path), scheme) for path, scheme in rounded]
        factors = choose_factors(weights, read.gram, channels=read.producer.channels)
        if not np.all(factors == 1):
            rescaling.add(read.modules, read.producer, factors)
    return rescaling


def _hessian(read: ReadInput, factors: Floats | None) -> Floats:
    """Return what the sum of x xᵀ is once the inputs are divided."""
    return read.gram if factors is None else read.gram / factors / factors[:, None]


def _matrix(parameters: Parameters, path: str) -> Floats:
    return np.asarray(parameters[f"{path}.weight"][:], np.float32)
