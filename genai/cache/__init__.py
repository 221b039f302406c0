"""KV cache: slots over preallocated buffers, on any device."""

from genai.cache.kv_cache import KVCache, share_bytes
from genai.cache.memory import Buffer, Device
from genai.cache.prefix_file import CachedPrefix
from genai.cache.rotation import Rotation
from genai.cache.shape import CacheShape, CacheTensor
from genai.cache.slot import PrefixKey, Slot

__all__ = [
    "Buffer",
    "CacheShape",
    "CacheTensor",
    "CachedPrefix",
    "Device",
    "KVCache",
    "PrefixKey",
    "Rotation",
    "Slot",
    "share_bytes",
]
