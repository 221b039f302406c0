from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.cache import CacheShape, CacheTensor, KVCache, Rotation
from tests.fakes import PoisonedDevice


def turned(vectors: np.ndarray, positions: np.ndarray, rotation: Rotation) -> np.ndarray:
    """Return vectors [positions, width] as a model turns them: a plain loop over pairs."""
    result, half = vectors.astype(np.float64), rotation.cos.shape[1]
    for row, position in enumerate(positions):
        for pair in range(half):
            a, b = (2 * pair, 2 * pair + 1) if rotation.interleaved else (pair, pair + half)
            x, y = (float(vectors[row, rotation.first + i]) for i in (a, b))
            cos, sin = rotation.cos[position, pair], rotation.sin[position, pair]
            result[row, rotation.first + a] = x * cos - y * sin
            result[row, rotation.first + b] = y * cos + x * sin
    return result


@given(
    st.booleans(),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from([1.0, 1.2]),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_moved_vectors_are_those_of_the_new_positions(
    interleaved: bool, half: int, first: int, behind: int, factor: float, position: int, to: int
) -> None:
    angles = np.arange(24)[:, None] * 10.0 ** -np.arange(half)
    cos, sin = ((factor * f(angles)).astype(np.float32) for f in (np.cos, np.sin))
    rotation = Rotation(cos, sin, interleaved, first)
    vectors = np.random.default_rng(half).normal(size=(4, first + 2 * half + behind))
    moved = turned(vectors, np.arange(position, position + 4), rotation).astype(np.float32)
    rotation.move(moved, position=position, to=to)
    np.testing.assert_allclose(moved, turned(vectors, np.arange(to, to + 4), rotation), atol=3e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_dropped_positions_close_up(dtype: Any) -> None:
    angles = np.arange(32)[:, None] * np.array([1.0, 0.1])
    rotation = Rotation(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
    shape = CacheShape((CacheTensor(2, 4, dtype), CacheTensor(2, 4, dtype)), 32, 2)
    device = PoisonedDevice()
    cache = KVCache(shape, device)
    slot = cache.acquire([1])
    assert slot is not None
    slot.token_ids = list(range(10))
    plain = np.random.default_rng(0).normal(size=(10, 4))
    values = plain.astype(dtype)
    for tensor, content in enumerate((turned(plain, np.arange(10), rotation).astype(dtype), values)):
        device.peek(cache.sides[0][tensor].rows(0, 1))[0, :, :10] = content
    cache.drop(slot, 2, 3, [rotation, None])
    kept = [0, 1, 5, 6, 7, 8, 9]
    assert slot.token_ids == kept
    keys, moved_values = cache.read(slot).tensors
    tolerance = 1e-6 if dtype == np.float32 else 3e-3
    np.testing.assert_allclose(keys[0, 1], turned(plain[kept], np.arange(7), rotation), atol=tolerance)
    np.testing.assert_array_equal(moved_values[0, 1], values[kept])
    cache.check()
    other = cache.acquire([0, 1, 5, 6])
    assert other is not None
    assert not other.token_ids, "no prompt goes on from it"
    cache.release(slot)
    assert not slot.token_ids
