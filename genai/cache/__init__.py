"""KV cache: slots over preallocated buffers, on any device."""

from genai.cache.kv_cache import CacheShape, KVCache, Slot
from genai.cache.memory import Buffer, Device

__all__ = ["Buffer", "CacheShape", "Device", "KVCache", "Slot"]
