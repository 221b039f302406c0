"""Columns of matrices that are multiplied while what makes their inputs is divided: the decoder computes the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from genai.export.build.producers import Producer
from genai.export.checkpoint.rows import RescaledRows, Rows

__all__ = ["Rescaling"]

Floats = NDArray[np.float32]


class Rescaling:
    """What is multiplied and divided, gathered before any matrix is read.

    Args:
        parameters: The decoder's parameters as the checkpoint has them.
    """

    def __init__(self, parameters: Mapping[str, Rows]) -> None:
        self._parameters = parameters
        self._factors: dict[str, Floats] = {}
        self._divisors: dict[str, Floats] = {}
        self._divided: dict[str, tuple[Floats, Floats]] = {}

    def add(self, modules: Iterable[str], producer: Producer, factors: Floats) -> None:
        """Multiply the columns of all modules that read what a producer makes: factors are float32 [inputs]."""
        self._factors |= dict.fromkeys(modules, factors)
        divisors = factors[producer.first_inputs]
        self._divided |= {name: (used, divisors) for name, used in producer.vectors.items()}
        if producer.module is not None:
            self._divisors[producer.module] = divisors

    @property
    def modules(self) -> frozenset[str]:
        """The modules whose matrices are rescaled."""
        return frozenset(self._factors.keys() | self._divisors.keys())

    def factors_of(self, module: str) -> Floats | None:
        """Return what a module's columns are multiplied by; `None` if they are not."""
        return self._factors.get(module)

    def matrix(self, module: str) -> RescaledRows:
        """Return a module's matrix as it is rescaled."""
        rows = self._parameters[f"{module}.weight"]
        num_outputs, num_inputs = rows.shape
        factors, divisors = self._factors.get(module), self._divisors.get(module)
        return RescaledRows(
            rows,
            np.ones(num_inputs, np.float32) if factors is None else factors,
            np.ones(num_outputs, np.float32) if divisors is None else divisors,
        )

    def vectors(self) -> dict[str, Floats]:
        """Return what to store of vectors, by name, so that what is used of them is divided; it may be 1 + stored."""
        return {
            name: np.asarray(self._parameters[name][:], np.float32) + (used / divisors - used)
            for name, (used, divisors) in self._divided.items()
        }
