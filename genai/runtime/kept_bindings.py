"""Bindings of runs over a cache, kept as long as the cache stays where it is."""

from __future__ import annotations

from collections.abc import Callable

from genai.cache import KVCache
from genai.runtime.binding import Binding

__all__ = ["KeptBindings"]

MAX_KEPT = 64
"""Bindings that are kept, those used last; each names all of a model's caches and adapters, and is soon made again."""


class KeptBindings:
    """Bindings by whatever tells runs apart.

    Args:
        cache: The cache that they read and write.
        records: Whether their runs are recorded: then all are kept, as what takes long and cannot be given back is that.
    """

    def __init__(self, cache: KVCache, *, records: bool = False) -> None:
        self._cache = cache
        self._records = records
        self._bound: dict[tuple[int, ...], Binding] = {}  # in the order of their last use
        self._epoch = -1

    def get(self, key: tuple[int, ...], bind: Callable[[], Binding]) -> Binding:
        """Return the binding of a key, made now if there is none since the cache has moved."""
        if self._epoch != self._cache.epoch:
            self.release()
            self._epoch = self._cache.epoch
        binding = self._bound.pop(key, None) or bind()
        self._bound[key] = binding
        if len(self._bound) > MAX_KEPT and not self._records:
            self._bound.pop(next(iter(self._bound))).release()
        return binding

    def release(self) -> None:
        """Let all go."""
        for binding in self._bound.values():
            binding.release()
        self._bound.clear()
