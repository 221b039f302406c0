"""Rescaling channels before weights are rounded, without data, so that the decoder computes the same and rounds better.

The columns of a matrix are brought to one length, and whatever makes their inputs makes up for it: the weight of the
norm before gate and up, the rows of up before down, the rows of the values before the output projection. Training gives
large inputs short columns, and in a block that holds a few long columns these round worst although they count most:
AWQ (https://arxiv.org/abs/2306.00978) finds the inputs' sizes with a text, this takes them from the weights. It is the
equalization of layers (https://arxiv.org/abs/1906.04721) for the blocks of a decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from genai.export.architecture import DecoderSpec, LayerSpec, MlpSpec
from genai.export.build.precision import Precision
from genai.export.build.producers import norm_of, writers_of
from genai.export.build.recipe import lengths
from genai.export.build.rescaling import Rescaling
from genai.export.checkpoint.rows import Rows
from genai.quantize.smoothing import equalizing_factors

__all__ = ["balanced"]

Floats = NDArray[np.float32]


def balanced(parameters: Mapping[str, Rows], spec: DecoderSpec, precision: Precision) -> Mapping[str, Rows]:
    """Return a decoder's parameters with columns of one length in the matrices that get few bits.

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
            if f"{path}.weight" in parameters and _is_narrow(precision, path):
                rescaling.add([path], writer, _column_factors([rescaling.matrix(path)], writer.channels))
        norm = layer.mlp_norm
        if norm is not None and _reads_norm_alone(layer) and spec.altup is None:
            modules = [f"{scope}.{layer.mlp.scope}.{name}" for name in ("gate", "up")]
            if all(_is_narrow(precision, module) for module in modules):
                producer = norm_of(f"{scope}.mlp_norm", norm, parameters)
                # up's rows are as long as they will be: one that was far longer would alone decide on the columns
                rescaling.add(
                    modules, producer, _column_factors([rescaling.matrix(each) for each in modules])
                )
    matrices = {f"{module}.weight": rescaling.matrix(module) for module in rescaling.modules}
    return {**parameters, **rescaling.vectors(), **matrices}


def _is_narrow(precision: Precision, path: str) -> bool:
    scheme = precision.scheme_of(path)
    return scheme is not None and scheme.bits <= 4


def _reads_norm_alone(layer: LayerSpec) -> bool:
    """Whether a norm with a weight makes what a dense gated block reads, and nothing else reads it."""
    norm, mlp = layer.mlp_norm, layer.mlp
    return norm is not None and norm.weight and isinstance(mlp, MlpSpec) and mlp.gated and not layer.parallel


def _column_factors(matrices: Sequence[Rows], channels: NDArray[np.int64] | None = None) -> Floats:
    """Return what brings the columns of stacked matrices to one length; inputs of one channel have one factor."""
    squares = np.sum([np.square(lengths(matrix, axis=0)) for matrix in matrices], axis=0)
    return equalizing_factors(squares, channels=channels)
