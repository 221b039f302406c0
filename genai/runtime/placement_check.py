"""What a folder's nodes run on, provider by provider, without running them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from genai.folder import ModelFolder
from genai.runtime.placement import Placement
from genai.runtime.session import open_sessions

__all__ = ["check_placement"]


def check_placement(
    folder: ModelFolder, provider: str, *, provider_library: str | Path | None = None
) -> Placement:
    """Return the placement of a folder's nodes on a provider; of a decoder in stages, of all its sessions together.

    Raises:
        ProviderError: The provider is not available, or does not take the model.
        ModelFolderError: The model cannot be loaded.
    """
    sessions = open_sessions(
        folder,
        provider=provider,
        max_context=folder.decoder.context_length,
        optimize_for="memory",
        provider_library=provider_library,
        records_placement=True,
    )
    operators: dict[str, Counter[str]] = {}
    num_size_nodes = 0
    for session in dict.fromkeys(sessions):
        for name, counter in session.placement.operators.items():
            operators.setdefault(name, Counter()).update(counter)
        num_size_nodes += session.placement.num_size_nodes
    return Placement(operators, num_size_nodes)
