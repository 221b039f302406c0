"""How much an engine has to do, as numbers that a server shows."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """How much the engines of a model have to do now, and have done.

    Args:
        num_running: Requests that have slots of the KV cache.
        num_waiting: Requests that wait for some.
        num_preemptions: How often a request has given its slots back, because memory was short, and waited again.
        prompt_tokens: Tokens of the prompts of all requests that have run and ended.
        cached_prompt_tokens: How many of these were in the cache already.
        cache_tokens: Tokens that running requests hold in the cache.
        idle_cache_tokens: Tokens of ended requests that it still holds for prompts that begin alike.
        max_cache_tokens: Tokens that it can hold.
        cache_bytes: Bytes that it takes.
        max_cache_bytes: Bytes that it may take; None is no limit but that of slots and context.
    """

    num_running: int
    num_waiting: int
    num_preemptions: int
    prompt_tokens: int
    cached_prompt_tokens: int
    cache_tokens: int
    idle_cache_tokens: int
    max_cache_tokens: int
    cache_bytes: int
    max_cache_bytes: int | None

    def __add__(self, other: Workload) -> Workload:
        """Return the workload of both together."""
        limits = self.max_cache_bytes, other.max_cache_bytes
        return Workload(
            self.num_running + other.num_running,
            self.num_waiting + other.num_waiting,
            self.num_preemptions + other.num_preemptions,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.cache_tokens + other.cache_tokens,
            self.idle_cache_tokens + other.idle_cache_tokens,
            self.max_cache_tokens + other.max_cache_tokens,
            self.cache_bytes + other.cache_bytes,
            None if None in limits else sum(limit for limit in limits if limit is not None),
        )
