"""The share of what the machine can do that a measurement reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genai.runtime.machine_limits import MachineLimits

if TYPE_CHECKING:
    from genai.benchmark.work import Work

__all__ = ["decode_share", "prompt_share"]


def decode_share(
    work: Work | None, limits: MachineLimits | None, *, past: int, tokens_per_second: float
) -> float | None:
    """Return the bytes of weights and cache that are read per second, over what memory gives; None if one is not known."""
    if work is None or work.cache is None or limits is None:
        return None
    num_bytes = work.weight_bytes + work.cache.num_bytes(past)
    return num_bytes * tokens_per_second / limits.read_bytes_per_second


def prompt_share(
    work: Work | None, limits: MachineLimits | None, *, prompt_tokens: int, seconds: float
) -> float | None:
    """Return how long a prompt's multiplications by weights take at the peak, over how long the prompt took.

    Two operations a multiplication, at the peak of the type that each is computed in; the head runs once. None if one is
    not known.
    """
    if work is None or limits is None:
        return None
    int8_macs = prompt_tokens * work.int8_macs + work.head_int8_macs
    float_macs = prompt_tokens * work.float_macs + work.head_float_macs
    ideal = int8_macs / limits.int8_operations_per_second + float_macs / limits.fp32_operations_per_second
    return 2 * ideal / seconds
