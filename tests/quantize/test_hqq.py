"""Half-quadratic quantization: equal to a slow twin of one block, and never worse than rounding under its objective."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from genai.config import ExportSettings
from genai.quantize import BlockScheme, QuantizedRows, dequantize_rows, quantize_matrix, quantize_rows
from genai.quantize.hqq import half_quadratic_rows, half_quadratic_sums
from genai.quantize.packing import unpack_codes

Floats = NDArray[np.float32]

SCHEMES = [
    BlockScheme(bits, 32, is_symmetric=is_symmetric, method="hqq", scale_type=scale_type)
    for bits in (2, 4, 8)
    for is_symmetric in (True, False)
    for scale_type in ("float32", "float16")
]


def random_rows(num_rows: int, num_columns: int, seed: int = 0) -> Floats:
    """Weights with a few far ones, as trained matrices have them."""
    return np.random.default_rng(seed).standard_t(4, (num_rows, num_columns)).astype(np.float32) * 0.02


def values_of(rounded: QuantizedRows, scheme: BlockScheme, num_columns: int) -> Floats:
    return dequantize_rows(
        rounded.codes, rounded.scales, scheme, num_columns=num_columns, zero_points=rounded.zero_points
    )


def slow_block(weights: list[float], scheme: BlockScheme) -> list[float]:
    """The definition, number by number: what a block is rounded to."""
    first = quantize_rows(np.asarray([weights], np.float32), scheme)
    scale, zero = float(first.scales[0, 0]), scheme.zero_point
    if first.zero_points is not None:
        zero = int(unpack_codes(first.zero_points, bits=scheme.bits, count=1)[0, 0])
    best, least = [], math.inf
    for step in range(6):
        codes = [min(max(round(w / scale) + zero, 0), scheme.max_code) for w in weights]
        found = [(code - zero) * scale for code in codes]
        total = sum(abs(w - value) ** 0.75 for w, value in zip(weights, found, strict=True))
        if total < least:
            best, least = found, total
        beta, wanted = 10 * 1.01**step, []
        for w, value in zip(weights, found, strict=True):
            error = (w - value) / scale
            size = max(abs(error), 1e-8)
            shrunk = math.copysign(max(size - size ** (0.75 - 1) / beta, 0), error)
            wanted.append(w - shrunk * scale)
        if not scheme.is_symmetric:
            mean = sum(code - w / scale for code, w in zip(codes, wanted, strict=True)) / len(codes)
            zero = min(max(round(mean), 0), scheme.max_code)
        numbers = [code - zero for code in codes]
        scale = sum(w * n for w, n in zip(wanted, numbers, strict=True)) / sum(n * n for n in numbers)
        scale = float(np.float32(scale).astype(scheme.scale_type))
    return best


@pytest.mark.parametrize("scheme", SCHEMES)
def test_as_the_definition(scheme: BlockScheme) -> None:
    rows = random_rows(40, 64)
    found = values_of(half_quadratic_rows(rows, scheme), scheme, 64).reshape(-1, 32)
    expected = np.asarray([slow_block(block.tolist(), scheme) for block in rows.reshape(-1, 32)])
    differs = np.abs(found - expected).max(axis=1) > 1e-6
    assert differs.mean() <= 0.05, "but where a number lies between two codes"


@settings(deadline=None, max_examples=60)
@given(
    scheme=st.sampled_from(SCHEMES),
    num_columns=st.integers(1, 100),
    size=st.sampled_from([1e-30, 1e-6, 1e-2, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_never_worse_than_rounding_to_nearest(
    scheme: BlockScheme, num_columns: int, size: float, seed: int
) -> None:
    rows = random_rows(3, num_columns, seed) * np.float32(size)
    found, nearest = half_quadratic_rows(rows, scheme), quantize_rows(rows, scheme)
    assert found.codes.shape == nearest.codes.shape
    assert found.scales.dtype == nearest.scales.dtype
    np.testing.assert_array_equal(found.scales.astype(scheme.scale_type), found.scales)
    sums, others = (sum_of_blocks(rows - values_of(each, scheme, num_columns)) for each in (found, nearest))
    rounding = sum_of_blocks(np.spacing(np.abs(rows)))  # of each weight, by its last bit
    assert (sums <= others * 1.0001 + rounding).all()


def sum_of_blocks(errors: Floats) -> Floats:
    padded = np.pad(errors, ((0, 0), (0, -errors.shape[1] % 32)))
    return half_quadratic_sums(padded.reshape(len(errors), -1, 32))


def test_it_is_better_where_weights_lie_far_out() -> None:
    scheme, rows = SCHEMES[7], random_rows(200, 256)
    found, nearest = (
        sum_of_blocks(rows - values_of(each(rows, scheme), scheme, 256)).sum()
        for each in (half_quadratic_rows, quantize_rows)
    )
    assert found < 0.98 * nearest


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("value", [0.0, 1.0, -3.5])
def test_blocks_of_one_value_are_exact(scheme: BlockScheme, value: float) -> None:
    rows = np.full((2, 64), value, np.float32)
    found = values_of(half_quadratic_rows(rows, scheme), scheme, 64)
    np.testing.assert_allclose(found, rows, rtol=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [1e-44, 1e38])
def test_what_no_scale_can_hold_is_as_of_rounding(scheme: BlockScheme, size: float) -> None:
    """And what is infinite is refused by whoever writes it."""
    rows = random_rows(4, 64) * 10 * np.float32(size)
    found, nearest = half_quadratic_rows(rows, scheme), quantize_rows(rows, scheme)
    held = np.isfinite(nearest.scales) & (nearest.scales != 0)
    np.testing.assert_array_equal(np.isfinite(found.scales) & (found.scales != 0), held)
    np.testing.assert_array_equal(found.scales[~held], nearest.scales[~held])


def test_a_matrix_is_rounded_by_its_scheme() -> None:
    scheme, rows = SCHEMES[7], random_rows(10, 64)
    matrix = quantize_matrix(lambda start, stop: rows[start:stop], shape=rows.shape, scheme=scheme)
    expected = half_quadratic_rows(rows, scheme)
    for step in (3, 10):
        parts = [matrix.codes[start : start + step] for start in range(0, 10, step)]
        np.testing.assert_array_equal(np.concatenate(parts), expected.codes)
    np.testing.assert_array_equal(matrix.scales[2:7], expected.scales[2:7])


def test_it_needs_no_text() -> None:
    settings = ExportSettings(quantize="hqq")
    assert not settings.is_calibrated
    assert settings.name == "int4-quantize=hqq"
