"""What models this machine has: presets, downloads and exports in one list, and their removal.

It reads huggingface_hub's cache and the store of exports; it makes and fetches nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genai.errors import ModelNotFoundError
from genai.folder import CONFIG_FILE
from genai.hub.names import LocalModel, resolve
from genai.hub.presets import Preset, load_presets
from genai.hub.store import Store, StoredExport

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo, HFCacheInfo

__all__ = ["ModelEntry", "find_model", "list_models", "remove_model"]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model: what is known of it and what of it is on this machine.

    Args:
        name: Its alias, else its hub id, else the path of the checkpoint that it was exported from.
        source: Hub id, or path.
        preset: Its preset, if there is one.
        exports: Its exports in the store.
        download_bytes: How much of it huggingface_hub's cache holds; 0 if nothing.
        is_packaged: Whether it came with this package, or another installed one, and is there.
    """

    name: str
    source: str
    preset: Preset | None
    exports: tuple[StoredExport, ...] = ()
    download_bytes: int = 0
    is_packaged: bool = False

    @property
    def export_bytes(self) -> int:
        """Size of all its exports."""
        return sum(export.size_bytes for export in self.exports)

    @property
    def is_here(self) -> bool:
        """Whether anything of it is on this machine."""
        return bool(self.exports or self.download_bytes or self.is_packaged)


def list_models(store: Store | None = None) -> tuple[ModelEntry, ...]:
    """List every preset, and every other model that was exported or that was downloaded to run as it is."""
    exports: dict[str, list[StoredExport]] = {}
    for export in (store or Store()).exports():
        is_path = os.path.isabs(export.source)
        source = export.source if is_path else export.source.partition(":")[0]  # without its subfolder
        exports.setdefault(source, []).append(export)
    downloads = _scan_downloads()
    entries = []
    for preset in load_presets():
        source = preset.repo or str(preset.packaged_path)
        repo, file = downloads.pop(source, None), preset.find_package_file()
        entries.append(
            ModelEntry(
                preset.alias,
                source,
                preset,
                (*exports.pop(source, ()), *exports.pop(str(file and file.resolve()), ())),
                repo.size_on_disk if repo else 0,
                file is not None or (preset.packaged_path is not None and preset.packaged_path.is_dir()),
            )
        )
    runnable = {source for source, repo in downloads.items() if _holds_model_folder(repo)}
    for source in sorted(exports.keys() | runnable):
        repo = downloads.get(source)
        entries.append(
            ModelEntry(source, source, None, tuple(exports.get(source, ())), repo.size_on_disk if repo else 0)
        )
    return tuple(entries)


def find_model(name: str, *, store: Store | None = None) -> ModelEntry:
    """Return what is known of the model that an alias, hub id or path of a checkpoint stands for.

    Raises:
        ModelNotFoundError: The name stands for nothing.
    """
    model = resolve(name)
    if isinstance(model, LocalModel):
        repo_of_preset = model.preset.repo if model.preset else None
        source = repo_of_preset or str(model.path if model.preset else model.path.resolve())
    else:
        source = model.repo
    for entry in list_models(store):
        if entry.source == source:
            return entry
    repo = _scan_downloads().get(source)
    return ModelEntry(name, source, None, (), repo.size_on_disk if repo else 0)


def remove_model(
    name: str, *, exports: bool = True, downloads: bool = False, store: Store | None = None
) -> int:
    """Remove a model's exports, and if asked its downloads too; return the number of bytes that this freed.

    Args:
        name: As for `resolve`.
        exports: Remove its exports, of every revision and precision.
        downloads: Remove what huggingface_hub's cache holds of it, for every program that uses that cache.
        store: Where exports are kept; by default under GENAI_HOME.

    Raises:
        ModelNotFoundError: The name stands for nothing, or there is nothing to remove.
        ExportError: The disk refuses.
    """
    store = store or Store()
    entry = find_model(name, store=store)
    freed = (entry.export_bytes if exports else 0) + (entry.download_bytes if downloads else 0)
    if not freed:
        raise ModelNotFoundError(_nothing_to_remove(name, entry))
    for export in entry.exports if exports else ():
        store.remove(export)
    if downloads and entry.download_bytes:
        _delete_download(entry.source)
    return freed


def _nothing_to_remove(name: str, entry: ModelEntry) -> str:
    if entry.is_packaged:
        return f'"{name}" comes with the package and cannot be removed'
    if entry.download_bytes:
        return (
            f'"{name}" has no exports to remove; its download takes {entry.download_bytes / 1e6:.0f} MB and is '
            "kept unless downloads=True (--downloads) is given"
        )
    return f'"{name}" is not on this machine; there is nothing to remove'


def _scan_downloads() -> dict[str, CachedRepoInfo]:
    cache = _scan_cache()
    return {repo.repo_id: repo for repo in cache.repos if repo.repo_type == "model"} if cache else {}


def _scan_cache() -> HFCacheInfo | None:
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return None


def _holds_model_folder(repo: CachedRepoInfo) -> bool:
    names = [file.file_name for revision in repo.revisions for file in revision.files]
    return any(name == CONFIG_FILE or name.endswith(".onnx") for name in names)


def _delete_download(repo_id: str) -> None:
    cache = _scan_cache()
    assert cache is not None
    commits = [
        revision.commit_hash
        for repo in cache.repos
        if repo.repo_id == repo_id and repo.repo_type == "model"
        for revision in repo.revisions
    ]
    cache.delete_revisions(*commits).execute()
