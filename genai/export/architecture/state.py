"""What a layer keeps from token to token."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StateSpec"]


@dataclass(frozen=True, slots=True)
class StateSpec:
    """One tensor that a layer reads as its past and writes as its present.

    Args:
        name: What it holds, as the graph contract calls it: "key", "value", "conv_state", "recurrent_state".
        shape: Its shape for one sequence; `None` is the axis of positions, if it has one.
        is_float32: Whether it is float32 even where the graph's float type is another.
    """

    name: str
    shape: tuple[int | None, ...]
    is_float32: bool = False
