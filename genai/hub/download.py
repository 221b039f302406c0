"""Downloads through huggingface_hub, into its own cache: first what a revision holds, then the files of a model.

It owns the order of requests and what counts as complete; huggingface_hub owns the cache (HF_HOME), resuming and
authentication. It exports nothing.
"""

from __future__ import annotations

import glob
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from genai.errors import CheckpointError, ModelFolderError, ModelNotFoundError, OptionError
from genai.folder import CONFIG_FILE, HF_CONFIG_FILE, OPTIMIZER_CONFIG_FILE
from genai.hub.failures import hub_errors
from genai.hub.names import HubModel
from genai.hub.progress import DownloadBars, Progress
from genai.hub.selection import Selection, select_files

__all__ = ["Snapshot", "fetch", "find_snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a repository: what it holds, and which of it is wanted; perhaps not yet on disk.

    Args:
        model: What was asked for.
        commit: The commit hash that its revision stood for.
        root: The repository's root in the cache, made of symbolic links.
        selection: The wanted files.
        sizes: Size in bytes of the repository's files.
        is_listed: Whether the hub listed these files; otherwise they are what some program left in the cache.
    """

    model: HubModel
    commit: str
    root: Path
    selection: Selection
    sizes: Mapping[str, int]
    is_listed: bool = True

    @property
    def path(self) -> Path:
        """The folder that holds the model, where its config is and the weights are after `fetch`; or the GGUF file."""
        return self.root / (self.selection.gguf_file or self.model.subfolder or "")

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file, which tells nothing before it is here."""
        return self.selection.gguf_file is not None

    @property
    def missing(self) -> tuple[str, ...]:
        """The wanted files that are not on disk."""
        return tuple(name for name in self.selection.files if not (self.root / name).is_file())


def find_snapshot(
    model: HubModel,
    *,
    checkpoint: bool = False,
    prefer_checkpoint: bool = False,
    variant: str | None = None,
    provider: str = "cpu",
    offline: bool = False,
    update: bool = True,
) -> Snapshot:
    """Find out which commit a revision stands for and which files make up the model; download only its config.

    Args:
        model: The repository, revision and subfolder.
        checkpoint: Take the checkpoint even if the repository holds a model folder.
        prefer_checkpoint: Rather take safetensors than ONNX files that came without a genai_config.json.
        variant: Which ONNX file to take where there are several.
        provider: The execution provider that the choice of a variant suits otherwise.
        offline: Look into the cache alone.
        update: Ask the hub for the revision's current commit; otherwise a complete earlier download will do.

    Raises:
        ModelNotFoundError: The hub has no such thing, refuses it, or cannot be reached.
        ModelFolderError: The repository holds no model there.
        CheckpointError: It has no safetensors.
        OptionError: It has no such variant.
    """
    select = partial(
        select_files,
        source=model.source,
        subfolder=model.subfolder,
        checkpoint=checkpoint,
        prefer_checkpoint=prefer_checkpoint,
        variant=variant,
        provider=provider,
    )
    if not update and not offline and (cached := _find_cached(model, select)) is not None:
        return cached
    return _look_up(model, select, offline=offline)


def fetch(snapshot: Snapshot, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Download what is missing of a snapshot, and return the model's folder, or its GGUF file.

    Without a callback, huggingface_hub draws its own bars if standard error is a terminal.

    Raises:
        ModelNotFoundError: A file is missing offline, the connection broke for good, or the disk has no room.
    """
    missing, model = snapshot.missing, snapshot.model
    if not missing:
        return snapshot.path
    if offline:
        raise ModelNotFoundError(
            f"{model.source} is only partly in the download cache: {_listed(missing)} missing at {snapshot.root}; "
            "fetch it once without offline"
        )
    from concurrent.futures import ThreadPoolExecutor

    from huggingface_hub import snapshot_download

    num_bytes = sum(snapshot.sizes.get(name, 0) for name in missing)
    _check_space(model.source, num_bytes, snapshot.root)
    drawn = progress is None and sys.stderr.isatty()
    bars = DownloadBars(f"Downloading {model.source}", num_bytes, progress=progress, drawn=drawn)
    with hub_errors(model.repo, model.revision), ThreadPoolExecutor(1) as executor:
        # In a thread of its own, for huggingface_hub itself ends an interrupt only with the file it is at.
        download = executor.submit(
            snapshot_download,
            model.repo,
            revision=snapshot.commit,
            allow_patterns=[glob.escape(name) for name in missing],
            tqdm_class=bars.make_class(),
        )
        try:
            download.result()
        except BaseException:
            bars.cancel()
            raise
    if snapshot.missing:
        raise ModelNotFoundError(
            f"{model.source}: after the download {_listed(snapshot.missing)} are still missing"
        )
    return snapshot.path


def _find_cached(model: HubModel, select: Callable[..., Selection]) -> Snapshot | None:
    """Return the revision's snapshot if an earlier download left all of it in the cache."""
    try:
        snapshot = _look_up(model, select, offline=True)
    except (ModelNotFoundError, ModelFolderError, CheckpointError, OptionError):
        return None
    return snapshot if snapshot.is_listed and not snapshot.missing else None


def _look_up(model: HubModel, select: Callable[..., Selection], *, offline: bool) -> Snapshot:
    from huggingface_hub import snapshot_download

    prefix = f"{model.subfolder}/" if model.subfolder else ""
    names = (HF_CONFIG_FILE, OPTIMIZER_CONFIG_FILE, CONFIG_FILE)
    configs = [glob.escape(prefix) + name for name in names]
    with hub_errors(model.repo, model.revision):
        root = Path(
            snapshot_download(
                model.repo,
                revision=model.revision,
                allow_patterns=configs,
                local_files_only=offline,
                tqdm_class=DownloadBars().make_class(),
            )
        )
    listed = _list_files(model.repo, root)
    sizes = _list_disk(root) if listed is None else listed
    selection = select(sizes)
    return Snapshot(model, root.name, root, selection, sizes, is_listed=listed is not None)


def _list_files(repo: str, root: Path) -> dict[str, int] | None:
    """Return the size of each file of a commit, as the hub listed them; `None` if no listing is in the cache."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return {file.path: file.size for file in get_cached_repo_tree(repo, revision=root.name)}
    except CachedRepoTreeNotFoundError:
        return None


def _list_disk(root: Path) -> dict[str, int]:
    """Return the size of each file of a commit that is on disk."""
    return {
        path.relative_to(root).as_posix(): path.stat().st_size for path in root.rglob("*") if path.is_file()
    }


def _check_space(source: str, num_bytes: int, folder: Path) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise ModelNotFoundError(
            f"{source} needs {num_bytes / 1e9:.1f} GB of disk and {folder} has {free / 1e9:.1f} GB free; free some "
            "space, or set HF_HOME to another disk"
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
