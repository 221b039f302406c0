"""Bindings of runs over a cache, kept as long as the cache stays where it is."""

from __future__ import annotations

from collections.abc import Callable

from genai.cache import KVCache
from genai.runtime.binding import Binding

__all__ = ["KeptBindings"]


class KeptBindings:
    """Bindings by whatever tells runs apart.

    Args:
        cache: The cache that they read and write.
    """

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self._bound: dict[tuple[int, ...], Binding] = {}
        self._epoch = -1

    def get(self, key: tuple[int, ...], bind: Callable[[], Binding]) -> Binding:
        """Return the binding of a key, made now if there is none since the cache has moved."""
        if self._epoch != self._cache.epoch:
            self.release()
            self._epoch = self._cache.epoch
        if key not in self._bound:
            self._bound[key] = bind()
        return self._bound[key]

    def release(self) -> None:
        """Let all go."""
        for binding in self._bound.values():
            binding.release()
        self._bound.clear()
