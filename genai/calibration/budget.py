"""Which scheme each group of matrices gets, so that all of them together stay within a number of bits."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from genai.errors import OptionError
from genai.quantize import BlockScheme

__all__ = ["Choices", "check_budget", "choose_schemes", "matrix_bits"]


@dataclass(frozen=True, slots=True)
class Choices:
    """Matrices that have one scheme, and what each scheme would cost.

    Args:
        modules: Their paths.
        shapes: [outputs, inputs] of each matrix that is stored.
        losses: What each scheme adds to the decoder's loss, in nats per token, all others being exact.
    """

    modules: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    losses: Mapping[BlockScheme, float]

    @property
    def num_weights(self) -> int:
        """How many weights they have."""
        return sum(rows * columns for rows, columns in self.shapes)

    def bits(self, scheme: BlockScheme) -> int:
        """Bits that they take in a scheme, with scales and zero points."""
        return sum(matrix_bits(shape, scheme) for shape in self.shapes)

    def steps(self) -> list[BlockScheme]:
        """The schemes that are worth their bits, from the smallest to the largest: the lower convex hull of the losses.

        Each takes less off the loss per bit than the one before it.
        """
        hull: list[BlockScheme] = []
        for scheme in sorted(self.losses, key=lambda each: (self.bits(each), self.losses[each])):
            if hull and self.losses[scheme] >= self.losses[hull[-1]]:
                continue
            while len(hull) > 1 and self.gain(hull[-1], scheme) >= self.gain(hull[-2], hull[-1]):
                hull.pop()
            hull.append(scheme)
        return hull

    def to_json(self, schemes: Sequence[BlockScheme]) -> dict[str, Any]:
        """Return this as JSON has it, each scheme by its place among all."""
        losses = [(schemes.index(scheme), loss) for scheme, loss in self.losses.items()]
        return {"modules": self.modules, "shapes": self.shapes, "losses": losses}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], schemes: Sequence[BlockScheme]) -> Self:
        """Read what `to_json` has made with the same schemes."""
        return cls(
            tuple(values["modules"]),
            tuple((rows, columns) for rows, columns in values["shapes"]),
            {schemes[place]: loss for place, loss in values["losses"]},
        )

    def gain(self, smaller: BlockScheme, larger: BlockScheme) -> float:
        """What a step from one scheme to the next takes off the loss, per bit."""
        saved = self.losses[smaller] - self.losses[larger]
        return saved / max(self.bits(larger) - self.bits(smaller), 1)


def choose_schemes(groups: Sequence[Choices], budget: float) -> dict[str, BlockScheme]:
    """Choose the scheme of every group, by path: the steps that take most off the loss per bit, while bits are left.

    Losses are taken to add up, which small ones do.

    Args:
        groups: All matrices that can be stored in one scheme or another.
        budget: Mean bits per weight, with scales and zero points.

    Raises:
        OptionError: The smallest schemes of all take more.
    """
    steps = [group.steps() for group in groups]
    places = [0] * len(groups)
    num_weights = sum(group.num_weights for group in groups)
    left = int(budget * num_weights) - sum(
        group.bits(hull[0]) for group, hull in zip(groups, steps, strict=True)
    )
    check_budget(budget, budget - left / num_weights)
    heap = [entry for index in range(len(groups)) for entry in _next_step(groups, steps, places, index)]
    heapq.heapify(heap)
    while heap:
        _, index = heapq.heappop(heap)
        hull, place = steps[index], places[index]
        cost = groups[index].bits(hull[place + 1]) - groups[index].bits(hull[place])
        if cost > left:
            continue  # a smaller step of another group may still fit
        left -= cost
        places[index] += 1
        for entry in _next_step(groups, steps, places, index):
            heapq.heappush(heap, entry)
    return {
        module: hull[place]
        for group, hull, place in zip(groups, steps, places, strict=True)
        for module in group.modules
    }


def check_budget(budget: float, least: float) -> None:
    """See that a budget is no less than the smallest schemes take, in bits per weight.

    Raises:
        OptionError: It is.
    """
    if budget < least:
        raise OptionError(
            f"bits_budget {budget:g} is less than the smallest schemes take, which is {math.ceil(100 * least) / 100:.2f} "
            "bits per weight with their scales: give more"
        )


def _next_step(
    groups: Sequence[Choices], steps: Sequence[list[BlockScheme]], places: Sequence[int], index: int
) -> Iterable[tuple[float, int]]:
    """Yield a group's next step, the best first in a heap; nothing where it has the largest scheme."""
    hull, place = steps[index], places[index]
    if place + 1 < len(hull):
        yield -groups[index].gain(hull[place], hull[place + 1]), index


def matrix_bits(shape: tuple[int, int], scheme: BlockScheme) -> int:
    """Return the bits that a matrix [outputs, inputs] takes, with its scales and zero points."""
    rows, columns = shape
    scale_bits = 16 if scheme.scale_type == "float16" else 32
    per_row = scheme.num_blocks(columns) * (8 * scheme.block_bytes + scale_bits)
    if not scheme.is_symmetric:
        per_row += 8 * scheme.zero_point_bytes(columns)
    return rows * per_row
