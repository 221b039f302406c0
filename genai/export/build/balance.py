"""Rescaling channels before weights are rounded, without data, so that the decoder computes the same and rounds better.

The columns of a matrix are brought to one length, and whatever makes their inputs makes up for it: the weight of the
norm before gate and up, the rows of up before down, the rows of the values before the output projection. Training gives
large inputs short columns, and in a block that holds a few long columns these round worst although they count most:
AWQ (https://arxiv.org/abs/2306.00978) finds the inputs' sizes with a text, this takes them from the weights. It is the
equalization of layers (https://arxiv.org/abs/1906.04721) for the blocks of a decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, MlpSpec, NormSpec
from genai.export.build.precision import Precision
from genai.export.build.producers import norm_of, writers_of
from genai.export.build.recipe import lengths
from genai.export.build.rescaling import Rescaling
from genai.export.checkpoint.rows import RescaledRows, Rows
from genai.quantize.smoothing import equalizing_factors

__all__ = ["balanced"]

Floats = NDArray[np.float32]

_MAX_ROW = 4.0
"""As how long a row counts at most, in median rows."""


def balanced(parameters: Mapping[str, Rows], spec: DecoderSpec, precision: Precision) -> Mapping[str, Rows]:
    """Return a decoder's parameters with columns of one length in the matrices that are quantized by a recipe.

    Args:
        parameters: The decoder's parameters by canonical name.
        spec: The decoder.
        precision: How each matrix will be rounded.
    """
    if precision.recipe is None:
        return parameters
    rescaling = Rescaling(parameters)
    for index, layer in enumerate(spec.layers):
        scope = f"layers.{index}"
        for path, writer in writers_of(layer, scope, parameters).items():
            if f"{path}.weight" in parameters and precision.scheme_of(path) is not None:
                rescaling.add([path], writer, _column_factors(parameters, [path], writer.channels))
        if spec.altup is not None:
            continue
        for name, norm, modules in _norms(layer):
            paths = [f"{scope}.{module}" for module in modules]
            if all(precision.scheme_of(path) is not None for path in paths):
                producer = norm_of(f"{scope}.{name}", norm, parameters)
                rescaling.add(paths, producer, _column_factors(parameters, paths))
    matrices = {f"{module}.weight": rescaling.matrix(module) for module in rescaling.modules}
    return {**parameters, **rescaling.vectors(), **matrices}


def _norms(layer: LayerSpec) -> Iterator[tuple[str, NormSpec, list[str]]]:
    """Yield each norm with a weight that matrices alone read: its name, itself, and the matrices' modules."""
    if layer.parallel or layer.laurel is not None or layer.normed_stream is not None:
        return
    mixer, mlp = layer.mixer, layer.mlp
    read_alone = layer.input_norm is not None and layer.input_norm.weight and layer.beside is None
    if read_alone and isinstance(mixer, AttentionSpec):
        assert layer.input_norm is not None
        yield "input_norm", layer.input_norm, [f"{mixer.scope}.{name}" for name in mixer.projections]
    if layer.mlp_norm is not None and layer.mlp_norm.weight and isinstance(mlp, MlpSpec) and mlp.gated:
        yield "mlp_norm", layer.mlp_norm, [f"{mlp.scope}.{name}" for name in ("gate", "up")]


def _column_factors(
    parameters: Mapping[str, Rows], modules: Sequence[str], channels: NDArray[np.int64] | None = None
) -> Floats:
    """Return what brings the columns of stacked matrices to one length; inputs of one channel have one factor."""
    squares = np.sum([_column_squares(parameters[f"{module}.weight"]) for module in modules], axis=0)
    if not np.all(np.isfinite(squares)):  # whoever writes such a matrix refuses it
        return np.ones(len(squares), np.float32)
    return equalizing_factors(squares, channels=channels)


def _column_squares(matrix: Rows) -> NDArray[np.float64]:
    """Return the squared lengths of a matrix's columns, in which no row counts as far longer than the others.

    One such row, of a neuron with massive activations, would decide on all columns alone.
    """
    rows = lengths(matrix, axis=1)
    limit = max(_MAX_ROW * float(np.median(rows)), float(np.finfo(np.float32).tiny))
    shrink = np.maximum(rows / limit, 1.0)
    if np.any(shrink > 1) and np.all(np.isfinite(shrink)):
        ones = np.ones(matrix.shape[1], np.float32)
        matrix = RescaledRows(matrix, ones, shrink.astype(np.float32))
    squares: NDArray[np.float64] = np.square(lengths(matrix, axis=0))
    return squares
