"""The longest conversation that this machine has memory for, where a model's own context is longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai.folder import ModelFolder

__all__ = ["longest_context"]

STEP = 256
MIN_CONTEXT = 512
"""Less is no conversation: where not even that fits, the model tries, and says itself what is lacking."""


def longest_context(folder: ModelFolder, num_free: int) -> int:
    """Return how many tokens' keys and values fit into memory beside the weights, at most the folder's context."""
    from genai.folder import MemoryNeed

    need, limit = MemoryNeed.of_folder(folder), folder.decoder.context_length
    taken = need.weight_bytes + need.runtime_bytes + need.state_bytes
    fitting = max(num_free - taken, 0) // max(need.token_bytes, 1)
    return limit if fitting >= limit else min(limit, max(fitting // STEP * STEP, MIN_CONTEXT))
