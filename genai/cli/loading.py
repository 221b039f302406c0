"""Opening the model that a command runs: found, downloaded and exported with progress on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from genai.cli.options import CacheFlags, FolderFlags, ModelFlags, RunFlags
from genai.cli.progress import StageProgress

if TYPE_CHECKING:
    from genai.folder import ModelFolder
    from genai.generator import Generator

__all__ = ["open_generator", "prepare_folder"]


@contextlib.contextmanager
def open_generator(
    options: ModelFlags,
    runs: RunFlags,
    caches: CacheFlags,
    *,
    devices: Sequence[int] | None = None,
    draft: str | None = None,
    choose_context: Callable[[ModelFolder], int | None] | None = None,
) -> Iterator[Generator]:
    """Load a model and free it when the block ends.

    Args:
        options: Which model.
        runs: What it runs on.
        caches: How much it holds at a time.
        devices: Several devices of the provider.
        draft: The draft model.
        choose_context: Asked for the longest sequence where the options name none and the model runs in the host's memory;
            None leaves the folder's.

    Raises:
        GenaiError: As `Generator` raises.
    """
    from genai.generator import Generator
    from genai.runtime.providers import preferred_provider

    provider = preferred_provider(runs.options)
    with StageProgress() as progress:
        folder = prepare_folder(options.model, options, provider, progress, revision=options.revision)
        draft_folder = None
        if draft is not None:
            draft_folder = prepare_folder(draft, FolderFlags(offline=options.offline), provider, progress)
    max_context = options.max_context
    if max_context is None and choose_context is not None and provider == "cpu":
        max_context = choose_context(folder)
    with Generator(
        folder,
        draft=draft_folder,
        max_context=max_context,
        max_batch=caches.max_batch,
        kv_cache_bytes=caches.kv_cache_bytes,
        devices=devices,
        **runs.options,
    ) as generator:
        yield generator


def prepare_folder(
    model: str, options: FolderFlags, provider: str, progress: StageProgress, *, revision: str | None = None
) -> ModelFolder:
    """Find a model, download and export it for a provider.

    Raises:
        GenaiError: As `genai.prepare.prepare_model` raises.
    """
    from genai.prepare import prepare_model

    return prepare_model(
        model,
        revision=revision,
        offline=options.offline,
        precision=options.precision,
        variant=options.variant,
        provider=provider,
        progress=progress,
    )
