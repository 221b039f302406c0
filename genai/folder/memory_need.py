"""What a model folder will take of memory once it is loaded, told by its files alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from genai.folder.model_folder import ModelFolder

__all__ = ["MemoryNeed"]

_RUNTIME_BYTES = 256 << 20
"""Of the runtime and its activations."""
_CONVERSATION_TOKENS = 4096
"""Those that a cache is counted for where nothing limits it: a long conversation."""
_COPY_SHARES = {"int4": 8 / 4.5, "int8": 1.0}
"""What the second weights that read prompts take, beside the first: 8 bits for each weight."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What a model takes, in bytes, at most: models with windows, shared caches or some layers with states take less.

    Args:
        weight_bytes: The graph and its weights.
        token_bytes: Keys and values of one token, in float32 or in the bytes that the manifest names.
        copy_bytes: The weights in 8 bits that a CPU may read prompts with.
        context_length: Most tokens of a sequence.
        runtime_bytes: The runtime and its activations.
        state_bytes: What a sequence takes however long it is, in a decoder that keeps states alone.
    """

    weight_bytes: int
    token_bytes: int
    copy_bytes: int
    context_length: int
    runtime_bytes: int = _RUNTIME_BYTES
    state_bytes: int = 0

    @classmethod
    def of_folder(cls, folder: ModelFolder) -> Self:
        """Read it off a folder."""
        decoder, manifest = folder.decoder, folder.manifest
        settings = manifest.settings if manifest is not None else {}
        attributes = manifest.attributes if manifest is not None else {}
        token_bytes = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim
        files = folder.model_path.parent.glob(f"{folder.model_path.name}*")
        weight_bytes = sum(file.stat().st_size for file in files)
        return cls(
            weight_bytes,
            token_bytes * (1 if settings.get("kv_precision") == "int8" else 4),
            int(weight_bytes * _COPY_SHARES.get(str(settings.get("precision")), 0)),
            decoder.context_length,
            state_bytes=attributes.get("state_bytes", 0),
        )

    def total_bytes(
        self, *, kv_cache_bytes: int | None = None, max_context: int | None = None, has_copy: bool = True
    ) -> int:
        """Return all of it.

        Args:
            kv_cache_bytes: What limits the cache; `None` counts a long conversation.
            max_context: Most tokens of a sequence, if it is less than the model's own.
            has_copy: Whether prompts may have weights of their own.
        """
        if kv_cache_bytes is None:
            num_tokens = min(self.context_length, max_context or self.context_length, _CONVERSATION_TOKENS)
            kv_cache_bytes = num_tokens * self.token_bytes + self.state_bytes
        return self.weight_bytes + self.runtime_bytes + has_copy * self.copy_bytes + kv_cache_bytes
