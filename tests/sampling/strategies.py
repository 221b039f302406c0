"""Random logits for property tests: with ties, forbidden tokens, padding near the lowest float, and flat regions."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

_VALUES = st.one_of(
    st.floats(-30, 30, width=32),
    st.integers(-5, 5).map(float),  # ties
    st.sampled_from([-np.inf, float(np.finfo(np.float32).min), 0.0, -0.0]),
)


@st.composite
def logits_rows(draw, min_size=1, max_size=40):
    """Return float32 [vocab] with a finite maximum."""
    row = draw(hnp.arrays(np.float32, st.integers(min_size, max_size), elements=_VALUES))
    row[draw(st.integers(0, row.size - 1))] = draw(st.floats(-30, 30, width=32))
    return row


seeds = st.integers(0, 2**32 - 1)
