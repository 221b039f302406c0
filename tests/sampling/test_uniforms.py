"""The stream of random numbers is numpy's Philox, by random access."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from genai.sampling.uniforms import UniformStream

uint64 = st.integers(0, 2**64 - 1)


@given(uint64, uint64, st.lists(st.integers(0, 500), min_size=1, max_size=10))
def test_any_step_in_any_order(seed, stream, steps):
    uniforms = UniformStream(seed, stream)
    philox = np.random.Philox(key=seed + (stream << 64))
    raw = philox.random_raw(501)
    for step in steps:
        assert uniforms.at(step) == (int(raw[step]) >> 11) * 2.0**-53


def test_known_values():
    """A seed must give the same text in every release."""
    uniforms = UniformStream(seed=1234, stream=2)
    assert [uniforms.at(i) for i in (0, 1, 64, 1000)] == KNOWN


KNOWN = [0.43858171203523855, 0.8705352184606493, 0.3425454569162325, 0.5287824821958238]


def test_uniform():
    uniforms = UniformStream(seed=0)
    numbers = [uniforms.at(i) for i in range(5000)]
    assert stats.kstest(numbers, "uniform").pvalue > 0.001
