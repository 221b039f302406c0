"""GPTQ: equal to rounding where nothing is correlated, to a slow twin everywhere, and better where something is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from genai.quantize import BlockScheme, QuantizedMatrix, quantize_rows
from genai.quantize.gptq import gptq
from genai.quantize.packing import unpack_codes
from genai.quantize.rtn import round_to_nearest
from genai.quantize.smoothing import choose_factors, output_error

Floats = NDArray[np.float32]

SCHEMES = [
    BlockScheme(4, 32),
    BlockScheme(4, 32, is_symmetric=False, scale_type="float16"),
    BlockScheme(8, 16),
    BlockScheme(4, 256, is_symmetric=False),
]


def random_weights(num_rows: int, num_columns: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((num_rows, num_columns)).astype(np.float32)


def correlated_hessian(num_inputs: int, *, rank: int = 12, num_samples: int = 400, seed: int = 1) -> Floats:
    """Inputs that are mixtures of a few, with some noise, and of very different sizes."""
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((num_samples, rank)) @ generator.standard_normal((rank, num_inputs))
    x = (mixed + 0.3 * generator.standard_normal(mixed.shape)) * np.exp(generator.standard_normal(num_inputs))
    return (x.T @ x / num_samples).astype(np.float32)


def slow_gptq(weights: Floats, hessian: Floats, scheme: BlockScheme, damping: float) -> Floats:
    """The definition: after each column, the others take the best change, and the inverse Hessian loses the column."""
    rest, num_columns = weights.astype(np.float64), weights.shape[1]
    mean = np.mean(np.diagonal(hessian).astype(np.float64))
    inverse = np.linalg.inv(hessian.astype(np.float64) + damping * mean * np.eye(num_columns))
    found = np.zeros_like(weights)
    for column in range(num_columns):
        if column % scheme.block_size == 0:
            block = rest[:, column : column + scheme.block_size].astype(np.float32)
            rounded = quantize_rows(block, scheme)
            scales, points = rounded.scales[:, 0], float(scheme.zero_point)
            if rounded.zero_points is not None:
                points = unpack_codes(rounded.zero_points, bits=scheme.bits, count=1)[:, 0].astype(np.float32)
        codes = np.clip(np.rint(rest[:, column] / scales) + points, 0, scheme.max_code)
        found[:, column] = (codes - points) * scales
        error = (rest[:, column] - found[:, column]) / inverse[0, 0]
        rest[:, column:] -= np.outer(error, inverse[0])
        inverse = (inverse - np.outer(inverse[:, 0], inverse[0]) / inverse[0, 0])[1:, 1:]
    return found


def parts_of(matrix: QuantizedMatrix) -> tuple[object, ...]:
    return matrix.codes, matrix.scales, matrix.zero_points


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("num_columns", [64, 70, 300])
def test_without_correlations_it_rounds_to_nearest(scheme: BlockScheme, num_columns: int) -> None:
    weights = random_weights(9, num_columns)
    rounded = quantize_rows(weights, scheme)
    expected = (rounded.codes, rounded.scales, rounded.zero_points)
    for found, wanted in zip(parts_of(gptq(weights, np.eye(num_columns), scheme)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("num_columns", [64, 70, 300])
def test_equals_the_slow_twin(scheme: BlockScheme, num_columns: int) -> None:
    weights, hessian = random_weights(24, num_columns), correlated_hessian(num_columns)
    found = gptq(weights, hessian, scheme, damping=0.1).dequantize()
    expected = slow_gptq(weights, hessian, scheme, 0.1)
    # In float32 a weight halfway between two codes may go to the other one, and take the rest of its row along.
    is_equal = np.isclose(found, expected, atol=1e-5).all(axis=1)
    assert is_equal.mean() >= 0.9


@pytest.mark.parametrize("scheme", SCHEMES[:3], ids=str)
@pytest.mark.parametrize("num_columns", [40, 96, 200])
def test_products_change_less_than_by_rounding(scheme: BlockScheme, num_columns: int) -> None:
    """In the mean: no law says by how much in a single matrix."""
    ratios = []
    for seed in range(8):
        weights = random_weights(32, num_columns, seed)
        hessian = correlated_hessian(num_columns, seed=seed)
        change = gptq(weights, hessian, scheme, damping=0.01).dequantize() - weights
        rounded = round_to_nearest(weights, scheme) - weights
        ratios.append(output_error(change, hessian) / output_error(rounded, hessian))
    assert np.mean(ratios) < 0.7


def test_inputs_that_never_came() -> None:
    weights, hessian = random_weights(8, 96), correlated_hessian(96)
    hessian[5], hessian[:, 5] = 0, 0
    for each in (hessian, np.zeros_like(hessian)):
        found = gptq(weights, each, SCHEMES[1]).dequantize()
        assert np.abs(found - weights).max() < 1.5


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_smoothing_never_makes_it_worse(scheme: BlockScheme) -> None:
    matrices = [(random_weights(20, 96, seed), scheme) for seed in (0, 1)]
    hessian = correlated_hessian(96)
    factors = choose_factors(matrices, hessian)
    before = sum(output_error(rows - round_to_nearest(rows, scheme), hessian) for rows, _ in matrices)
    smoothed = [round_to_nearest(rows * factors, scheme) / factors for rows, _ in matrices]
    after = sum(
        output_error(rows - found, hessian) for (rows, _), found in zip(matrices, smoothed, strict=True)
    )
    assert after <= before * 1.0001
    if scheme.bits == 4:
        assert after < 0.9 * before


def test_smoothing_without_inputs() -> None:
    np.testing.assert_array_equal(
        choose_factors([(random_weights(4, 32), SCHEMES[0])], np.zeros((32, 32))), 1
    )
