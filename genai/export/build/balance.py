"""Rescaling channels before weights are rounded, without data, so that the decoder computes the same and rounds better.

The columns of a matrix are brought to one length, and whatever makes their inputs makes up for it: the weight of the
norm before gate and up, the rows of up before down, the rows of the values before the output projection. Training gives
large inputs short columns, and in a block that holds a few long columns these round worst although they count most:
AWQ (https://arxiv.org/abs/2306.00978) finds the inputs' sizes with a text, this takes them from the weights. It is the
equalization of layers (https://arxiv.org/abs/1906.04721) for the blocks of a decoder.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from genai.export.architecture import DecoderSpec, LayerSpec, MlpSpec
from genai.export.build.precision import Precision
from genai.export.build.producers import writers_of
from genai.export.build.recipe import lengths
from genai.export.checkpoint.rows import RescaledRows, Rows

__all__ = ["balanced"]

Floats = NDArray[np.float32]

_LEAST_LENGTH = 1e-3  # of a column, as a share of the longest


def balanced(parameters: Mapping[str, Rows], spec: DecoderSpec, precision: Precision) -> Mapping[str, Rows]:
    """Return a decoder's parameters with columns of one length in the matrices that get 4 bits.

    Args:
        parameters: The decoder's parameters by canonical name.
        spec: The decoder.
        precision: How each matrix will be rounded.
    """
    if precision.name != "int4":
        return parameters
    scaling = _Scaling(parameters)
    for index, layer in enumerate(spec.layers):
        scope = f"layers.{index}"
        for path, writer in writers_of(layer, scope, parameters).items():
            if f"{path}.weight" in parameters and _is_narrow(precision, path):
                factors = _column_factors(parameters, [path], writer.channels)
                scaling.multiply_columns([path], factors)
                scaling.divide_outputs(str(writer.module), factors[writer.first_inputs])
        if _reads_norm_alone(layer) and spec.altup is None:
            modules = [f"{scope}.{layer.mlp.scope}.{name}" for name in ("gate", "up")]
            if all(_is_narrow(precision, module) for module in modules):
                factors = _column_factors(parameters, modules)
                scaling.multiply_columns(modules, factors)
                assert layer.mlp_norm is not None
                scaling.divide_norm(f"{scope}.mlp_norm", factors, offset=layer.mlp_norm.offset)
    return {**parameters, **scaling.changed()}


def _is_narrow(precision: Precision, path: str) -> bool:
    scheme = precision.scheme_of(path)
    return scheme is not None and scheme.bits == 4


def _reads_norm_alone(layer: LayerSpec) -> bool:
    """Whether a norm with a weight makes what a dense gated block reads, and nothing else reads it."""
    norm, mlp = layer.mlp_norm, layer.mlp
    return norm is not None and norm.weight and isinstance(mlp, MlpSpec) and mlp.gated and not layer.parallel


def _column_factors(
    parameters: Mapping[str, Rows], modules: list[str], channels: NDArray[np.int64] | None = None
) -> Floats:
    """Return what brings the columns of stacked matrices to one length; inputs of one channel have one factor."""
    squares = sum(np.square(lengths(parameters[f"{module}.weight"], axis=0)) for module in modules)
    assert isinstance(squares, np.ndarray)
    if channels is not None:
        squares = np.bincount(channels, squares)[channels]
    found = np.sqrt(squares)
    if not found.any():
        return np.ones(len(found), np.float32)
    logs = np.log(np.maximum(found / found.max(), _LEAST_LENGTH))
    factors: Floats = np.exp(logs.mean() - logs).astype(np.float32)
    return factors


class _Scaling:
    """What is multiplied and divided, gathered before any parameter is looked at."""

    def __init__(self, parameters: Mapping[str, Rows]) -> None:
        self._parameters = parameters
        self._factors: dict[str, Floats] = {}
        self._divisors: dict[str, Floats] = {}
        self._vectors: dict[str, Floats] = {}

    def multiply_columns(self, modules: list[str], factors: Floats) -> None:
        self._factors |= dict.fromkeys(modules, factors)

    def divide_outputs(self, module: str, divisors: Floats) -> None:
        self._divisors[module] = divisors
        self._divide(f"{module}.bias", divisors)

    def divide_norm(self, path: str, divisors: Floats, *, offset: float) -> None:
        self._divide(f"{path}.weight", divisors, offset=offset)
        self._divide(f"{path}.bias", divisors)

    def changed(self) -> dict[str, Rows]:
        """Return the parameters that are not what they were, by name."""
        changed: dict[str, Rows] = dict(self._vectors)
        for module in self._factors.keys() | self._divisors.keys():
            source = self._parameters[f"{module}.weight"]
            num_rows, num_columns = source.shape
            changed[f"{module}.weight"] = RescaledRows(
                source,
                self._factors.get(module, np.ones(num_columns, np.float32)),
                self._divisors.get(module, np.ones(num_rows, np.float32)),
            )
        return changed

    def _divide(self, name: str, divisors: Floats, *, offset: float = 0.0) -> None:
        if name in self._parameters:
            used = np.asarray(self._parameters[name][:], np.float32) + np.float32(offset)
            self._vectors[name] = used / divisors - np.float32(offset)
