"""KV cache: slots over preallocated buffers, on any device."""

from genai.cache.kv_cache import KVCache, Slot
from genai.cache.memory import Buffer, Device
from genai.cache.shape import CacheShape, CacheTensor

__all__ = ["Buffer", "CacheShape", "CacheTensor", "Device", "KVCache", "Slot"]
