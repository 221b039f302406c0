"""Rotary position embeddings: their description, as config.json gives it, and their cos/sin tables.

A `RopeSpec` is a value: layers whose specs are equal share one table. Formulas follow transformers'
modeling_rope_utils, computed in float32 as there, so that long positions turn by the same angle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FactorScaling",
    "LinearScaling",
    "Llama3Scaling",
    "LongRopeScaling",
    "ProportionalScaling",
    "RopeScaling",
    "RopeSpec",
    "YarnScaling",
]

Floats = NDArray[np.float32]


class RopeScaling(Protocol):
    """A way to stretch rotary embeddings beyond the length that a model was first trained on."""

    @property
    def magnitude(self) -> float:
        """Factor on every cos and sin (transformers' attention_factor)."""
        ...

    def rescale(self, frequencies: Floats, *, theta: float) -> Floats:
        """Return the frequencies, float32 [dim / 2], as changed by the scaling."""
        ...


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """Positions are divided by a factor (kaiokendev, 2023)."""

    factor: float
    magnitude: float = 1.0

    def rescale(self, frequencies: Floats, *, theta: float) -> Floats:  # noqa: ARG002 - the protocol's signature
        """Divide all frequencies."""
        return np.divide(frequencies, np.float32(self.factor), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Low frequencies are divided by a factor, high ones kept, those between interpolated (Llama 3.1)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int
    magnitude: float = 1.0

    def rescale(self, frequencies: Floats, *, theta: float) -> Floats:  # noqa: ARG002 - the protocol's signature
        """Divide by wavelength."""
        length = self.original_max_positions
        wavelengths = np.float32(2 * math.pi) / frequencies
        span = (
            self.high_freq_factor - self.low_freq_factor or 1.0
        )  # where they are equal, nothing lies between
        smooth = (length / wavelengths - self.low_freq_factor) / span
        between = (1 - smooth) * frequencies / self.factor + smooth * frequencies
        scaled = np.where(wavelengths > length / self.low_freq_factor, frequencies / self.factor, between)
        result: Floats = np.where(wavelengths < length / self.high_freq_factor, frequencies, scaled).astype(
            np.float32
        )
        return result


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """Frequencies are interpolated between divided and kept along a ramp over the dimensions (Peng et al., 2023)."""

    factor: float
    original_max_positions: int
    beta_fast: float
    beta_slow: float
    truncate: bool
    magnitude: float

    def rescale(self, frequencies: Floats, *, theta: float) -> Floats:
        """Divide by dimension."""
        half = len(frequencies)
        low = self._dimension_of(self.beta_fast, 2 * half, theta)
        high = self._dimension_of(self.beta_slow, 2 * half, theta)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * half - 1)
        span = high - low if high != low else 0.001
        ramp = np.clip((np.arange(half, dtype=np.float32) - np.float32(low)) / np.float32(span), 0, 1)
        result: Floats = (frequencies / np.float32(self.factor) * ramp + frequencies * (1 - ramp)).astype(
            np.float32
        )
        return result

    def _dimension_of(self, rotations: float, dim: int, theta: float) -> float:
        """The dimension that makes this many rotations over the original length."""
        return dim * math.log(self.original_max_positions / (rotations * 2 * math.pi)) / (2 * math.log(theta))


@dataclass(frozen=True, slots=True)
class FactorScaling:
    """Each frequency has its own divisor."""

    factors: tuple[float, ...]
    magnitude: float

    def rescale(self, frequencies: Floats, *, theta: float) -> Floats:  # noqa: ARG002 - the protocol's signature
        """Divide each."""
        return np.divide(frequencies, np.asarray(self.factors, np.float32), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class LongRopeScaling:
    """Each frequency has its own divisor, from one of two lists by the sequence's length (Ding et al., 2024).

    Sequences up to `original_max_positions` use the short factors, longer ones the long factors for *all* their
    positions. The table has the short rows first, for positions [0, original_max_positions), then the long rows
    for positions [0, context): a long sequence's position p is row `original_max_positions + p`.
    """

    short_factors: tuple[float, ...]
    long_factors: tuple[float, ...]
    original_max_positions: int
    magnitude: float

    def rescale(self, frequencies: Floats, *, theta: float) -> Floats:  # noqa: ARG002 - the protocol's signature
        """Divide by the long factors."""
        return np.divide(frequencies, np.asarray(self.long_factors, np.float32), dtype=np.float32)

    def rescale_short(self, frequencies: Floats) -> Floats:
        """Divide by the short factors."""
        return np.divide(frequencies, np.asarray(self.short_factors, np.float32), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class ProportionalScaling:
    """The high frequencies are divided by a factor, and the dimensions of the low ones do not rotate (Gemma 4).

    Args:
        num_rotating: Frequencies that are kept, of dim / 2.
        factor: What these are divided by.
        magnitude: Factor on every cos and sin.
    """

    num_rotating: int
    factor: float = 1.0
    magnitude: float = 1.0

    def rescale(self, frequencies: Floats, *, theta: float) -> Floats:  # noqa: ARG002 - the protocol's signature
        """Divide the first ones, and set the others to 0."""
        kept = np.arange(len(frequencies)) < self.num_rotating
        return np.where(kept, frequencies / np.float32(self.factor), np.float32(0)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """A rotary embedding over the first `dim` dimensions of a head.

    Args:
        dim: Dimensions that rotate, even.
        theta: Base of the wavelengths.
        scaling: How it is stretched, if it is.
        interleaved: Whether each dimension rotates with its neighbour (GPT-J) instead of with the one half of `dim`
            further on (GPT-NeoX).
        is_reversed: Whether it rotates the other way round.
    """

    dim: int
    theta: float
    scaling: RopeScaling | None = None
    interleaved: bool = False
    is_reversed: bool = False

    @property
    def switch_length(self) -> int | None:
        """Longest sequence that uses the first rows of a table with two sets of rows; `None` with one set."""
        return self.scaling.original_max_positions if isinstance(self.scaling, LongRopeScaling) else None

    def limited_to(self, num_positions: int) -> RopeSpec:
        """Return the embedding for sequences of up to this many positions: with one set of rows, if one suffices."""
        if (
            not isinstance(self.scaling, LongRopeScaling)
            or num_positions > self.scaling.original_max_positions
        ):
            return self
        return replace(self, scaling=FactorScaling(self.scaling.short_factors, self.scaling.magnitude))

    def num_rows(self, num_positions: int) -> int:
        """Rows of the table for sequences of up to this many positions."""
        return num_positions + (self.switch_length or 0)

    def angles(self, start: int, stop: int) -> Floats:
        """Return the angles of the table's rows [start, stop): float32 [rows, dim / 2]."""
        angles = self._angles(start, stop)
        return -angles if self.is_reversed else angles

    def _angles(self, start: int, stop: int) -> Floats:
        rows = np.arange(start, stop)
        exponents = np.arange(0, self.dim, 2, dtype=np.float32) / np.float32(self.dim)
        plain = (1.0 / np.power(np.float32(self.theta), exponents)).astype(np.float32)
        if not isinstance(self.scaling, LongRopeScaling):
            scaled = self.scaling.rescale(plain, theta=self.theta) if self.scaling else plain
            return np.multiply(rows.astype(np.float32)[:, None], scaled, dtype=np.float32)
        is_short = (rows < self.scaling.original_max_positions)[:, None]
        positions = np.where(is_short, rows[:, None], rows[:, None] - self.scaling.original_max_positions)
        long = self.scaling.rescale(plain, theta=self.theta)
        frequencies = np.where(is_short, self.scaling.rescale_short(plain), long)
        return np.multiply(positions.astype(np.float32), frequencies, dtype=np.float32)

    @property
    def magnitude(self) -> float:
        """Factor on every cos and sin."""
        return self.scaling.magnitude if self.scaling else 1.0
