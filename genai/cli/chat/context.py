"""The longest conversation that this machine has memory for, where a model's own context is longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai.folder import ModelFolder

__all__ = ["longest_context"]

RESERVED_BYTES = 256 << 20
"""Of the runtime and its activations."""
STEP = 256
MIN_CONTEXT = 512
"""Less is no conversation: where not even that fits, the model tries, and says itself what is lacking."""


def longest_context(folder: ModelFolder, num_free: int) -> int:
    """Return how many tokens' keys and values fit into memory beside the weights, at most the folder's context.

    Every layer counts as one with keys and values in float32 (or in the bytes that the manifest names): models with
    windows, shared caches or states take less.
    """
    decoder = folder.decoder
    limit = decoder.context_length
    is_int8 = folder.manifest is not None and folder.manifest.settings.get("kv_precision") == "int8"
    token_bytes = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * (1 if is_int8 else 4)
    weights = sum(file.stat().st_size for file in folder.model_path.parent.glob(f"{folder.model_path.name}*"))
    fitting = max(num_free - weights - RESERVED_BYTES, 0) // max(token_bytes, 1)
    return limit if fitting >= limit else min(limit, max(fitting // STEP * STEP, MIN_CONTEXT))
