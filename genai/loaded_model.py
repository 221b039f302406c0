"""What a `Generator` has in memory: its model on each device, with the engines that run it and what reads texts for it.

Alone here knows how decoders, draft models and engines are put together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genai.cache import share_bytes
from genai.embedding import Embedder
from genai.engine import BackgroundDriver, Engine, EnginePool, Speculation
from genai.folder import ModelFolder
from genai.request_builder import RequestBuilder
from genai.runtime import Decoder

__all__ = ["LoadedModel", "load_model"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is loaded; whoever lets go of it frees it, after `close`.

    Args:
        folder: Its folder.
        builder: Makes requests for it.
        decoder: The model on the first device.
        engines: What runs requests.
        background: Takes the engines' steps for those who must not block.
        embedder: Opens its hidden states when they are asked for.
        device_id: The first device.
        provider_library: The plug-in library that its provider came from.
    """

    folder: ModelFolder
    builder: RequestBuilder
    decoder: Decoder
    engines: EnginePool
    background: BackgroundDriver
    embedder: Embedder
    device_id: int
    provider_library: str | Path | None

    def close(self) -> None:
        """Stop the background threads and free the hidden states' session."""
        self.embedder.close()
        self.background.close()


def load_model(
    folder: ModelFolder,
    draft_folder: ModelFolder | None,
    *,
    devices: Sequence[int],
    max_context: int | None,
    provider_library: str | Path | None,
    placement: dict[str, Any],
    **limits: Any,
) -> LoadedModel:
    """Load a model, and a draft model if there is one, on each of these devices.

    Args:
        folder: The model's folder.
        draft_folder: The folder of the model that guesses for it.
        devices: At least one.
        max_context: Most tokens per sequence; None is the model's context length.
        provider_library: A plug-in library of execution providers to register.
        placement: How sessions run: `provider`, `num_threads` and `strict`, as for `Decoder`.
        limits: Its other options.

    Raises:
        ModelFolderError: A folder is damaged or unsupported.
        ProviderError: The provider is not available, or does not run the whole model though strict.
        OptionError: An option is impossible.
    """
    placement = {**placement, "provider_library": provider_library}

    def load(folder: ModelFolder, device: int, max_context: int | None) -> Decoder:
        return Decoder(folder, device_id=device, max_context=max_context, **limits, **placement)

    decoders = [load(folder, each, max_context) for each in devices]
    drafts: list[Decoder | None] = [None] * len(decoders)
    if draft_folder is not None:
        longest = min(decoders[0].context_length, draft_folder.decoder.context_length)
        drafts = [load(draft_folder, each, longest) for each in devices]
    if limits.get("kv_cache_bytes") is None:
        for decoder, draft in zip(decoders, drafts, strict=True):
            # Now that both models' weights lie there.
            if draft is not None and (free := decoder.free_cache_bytes) is not None:
                share_bytes([decoder.cache, draft.cache], free)
    engines = EnginePool(
        [
            Engine(decoder, speculation=Speculation(decoder, draft))
            for decoder, draft in zip(decoders, drafts, strict=True)
        ]
    )
    context_length = decoders[0].context_length
    return LoadedModel(
        folder=folder,
        builder=RequestBuilder(folder, context_length=context_length),
        decoder=decoders[0],
        engines=engines,
        background=BackgroundDriver(engines),
        embedder=Embedder(folder, device_id=devices[0], max_context=context_length, **placement),
        device_id=devices[0],
        provider_library=provider_library,
    )
