"""The random numbers of a sequence: one uniform per token, a pure function of (seed, stream, step).

Defined as the doubles of numpy's Philox4x64-10 generator (Salmon et al., 2011) with the 128-bit key
`seed + (stream << 64)` and the counter 0: the number of step n is `(r[n] >> 11) * 2**-53`, where r[n] is the n-th
64-bit output. Since it depends on nothing else, a seed gives the same tokens alone, in a batch and on any device.
"""

from __future__ import annotations

import numpy as np

__all__ = ["UniformStream"]

_CHUNK = 64  # numbers made at once; a multiple of the four that one Philox counter gives


class UniformStream:
    """Random access to the uniforms of one sequence.

    Args:
        seed: 0 to 2**64 - 1.
        stream: Index of the sequence among those that share the seed, 0 to 2**64 - 1.
        purpose: What the numbers are for, 0 to 2**64 - 1: one that needs a number of its own at every position is given
            the counters from `purpose << 192` on, which no other reaches.

    >>> uniforms = UniformStream(seed=7, stream=0)
    >>> generator = np.random.Generator(np.random.Philox(key=7))
    >>> [uniforms.at(n) for n in range(100)] == generator.random(100).tolist()
    True
    """

    __slots__ = ("_chunk", "_chunk_index", "_key", "_start")

    def __init__(self, seed: int, stream: int = 0, purpose: int = 0) -> None:
        self._start = purpose << 192
        self._key = seed + (stream << 64)
        self._chunk_index = -1
        self._chunk: list[float] = []

    def at(self, step: int) -> float:
        """Return the uniform in [0, 1) of this step."""
        index, offset = divmod(step, _CHUNK)
        if index != self._chunk_index:
            philox = np.random.Philox(key=self._key, counter=self._start + index * (_CHUNK // 4))
            self._chunk = np.random.Generator(philox).random(_CHUNK).tolist()
            self._chunk_index = index
        return self._chunk[offset]
