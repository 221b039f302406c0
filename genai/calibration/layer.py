"""What a method makes of one layer, from what its matrices read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.calibration.layer_run import ReadInput
from genai.calibration.parameters import Floats, Parameters, codes_arrays
from genai.export.checkpoint.rows import RescaledRows
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
        parameters: The decoder's parameters as the checkpoint has them.
        scheme_of: How a module's matrix is to be calibrated; `None` for one that is not.
        method: "gptq": smoothing, then GPTQ; "awq": smoothing, and whoever writes the matrix rounds it to nearest.
    """
    scaling = _Scaling.choose(inputs, parameters, scheme_of)
    arrays = scaling.vectors()
    for read in inputs:
        schemes = {path: scheme for path in read.modules if (scheme := scheme_of(path)) is not None}
        coded = schemes if method == "gptq" else {}
        for path in read.modules:
            if path not in coded and scaling.changes(path):
                scaled = scaling.scaled(path)
                arrays |= {f"{path}.factors": scaled.factors, f"{path}.divisors": scaled.divisors}
        for scheme in dict.fromkeys(coded.values()):
            alike = {path: scaling.scaled(path)[:] for path in coded if coded[path] == scheme}
            arrays |= _quantized(alike, scaling.hessian(read), scheme)
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


@dataclass(frozen=True, slots=True)
class _Scaling:
    """By what columns are multiplied, and what makes their inputs is divided.

    Args:
        parameters: The decoder's parameters as the checkpoint has them.
        factors: Of the columns, by module: float32 [inputs].
        divisors: Of the rows, by module: float32 [outputs].
        divided: Vectors that are divided, as they are used, and by what.
    """

    parameters: Parameters
    factors: Mapping[str, Floats]
    divisors: Mapping[str, Floats]
    divided: Mapping[str, tuple[Floats, Floats]]

    @classmethod
    def choose(cls, inputs: Sequence[ReadInput], parameters: Parameters, scheme_of: SchemeOf) -> _Scaling:
        factors: dict[str, Floats] = {}
        divisors: dict[str, Floats] = {}
        divided: dict[str, tuple[Floats, Floats]] = {}
        for read in inputs:
            rounded = [(path, scheme) for path in read.modules if (scheme := scheme_of(path)) is not None]
            if read.producer is None or not rounded:
                continue
            weights = [(_matrix(parameters, path), scheme) for path, scheme in rounded]
            chosen = choose_factors(weights, read.gram, channels=read.producer.channels)
            if np.all(chosen == 1):
                continue
            factors |= dict.fromkeys(read.modules, chosen)
            by_channel = chosen[read.producer.first_inputs]
            divided |= {name: (used, by_channel) for name, used in read.producer.vectors.items()}
            if read.producer.module is not None:
                divisors[read.producer.module] = by_channel
        return cls(parameters, factors, divisors, divided)

    def changes(self, path: str) -> bool:
        """Whether a module's matrix is scaled."""
        return path in self.factors or path in self.divisors

    def scaled(self, path: str) -> RescaledRows:
        """Return a module's matrix as it is scaled."""
        rows = self.parameters[f"{path}.weight"]
        num_outputs, num_inputs = rows.shape
        factors, divisors = self.factors.get(path), self.divisors.get(path)
        return RescaledRows(
            rows,
            np.ones(num_inputs, np.float32) if factors is None else factors,
            np.ones(num_outputs, np.float32) if divisors is None else divisors,
        )

    def hessian(self, read: ReadInput) -> Floats:
        """Return what the sum of x xᵀ is after the scaling."""
        factors = self.factors.get(read.modules[0])
        return read.gram if factors is None else read.gram / factors / factors[:, None]

    def vectors(self) -> Arrays:
        """Return what to store of vectors, so that what is used of them is divided; it may be more, such as 1 + stored."""
        stored = {name: np.asarray(self.parameters[name][:], np.float32) for name in self.divided}
        return {
            f"{name}.values": stored[name] + (used / factors - used)
            for name, (used, factors) in self.divided.items()
        }


def _matrix(parameters: Parameters, path: str) -> Floats:
    return np.asarray(parameters[f"{path}.weight"][:], np.float32)
