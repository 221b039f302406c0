"""The checkpoint behind a name, with its provenance: what an export starts from.

It joins resolution and download; it reads nothing of the checkpoint but its file names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genai.errors import CheckpointError, ModelNotFoundError
from genai.folder import ModelFolder
from genai.folder.gguf_files import gguf_file_of, gguf_models
from genai.folder.graph_files import NO_CACHE
from genai.hub.download import fetch, find_snapshot
from genai.hub.names import LocalModel, is_checkpoint_folder, resolve
from genai.hub.progress import Progress

__all__ = ["LocalCheckpoint", "check_checkpoint_folder", "resolve_checkpoint"]


@dataclass(frozen=True, slots=True)
class LocalCheckpoint:
    """A checkpoint on this machine.

    Args:
        path: Its folder (config.json, safetensors, tokenizer), or its GGUF file.
        source: "owner/name[:subfolder or file]", or the path that was given.
        revision: Commit hash of the repository; `None` for a local folder.
    """

    path: Path
    source: str
    revision: str | None


def resolve_checkpoint(
    name: str | Path,
    *,
    revision: str | None = None,
    offline: bool = False,
    update: bool = False,
    progress: Progress | None = None,
    check: Callable[[Path], object] | None = None,
) -> LocalCheckpoint:
    """Return the checkpoint that a path, alias or hub id stands for, downloaded if need be.

    Args:
        name: As for `resolve`.
        revision: Branch, tag or commit, for a hub repository.
        offline: Take it from the download cache alone.
        update: Ask the hub for the revision's current commit even if a complete download is there.
        progress: Told of the download.
        check: Called with a folder that holds config.json before the weights are fetched, and with a GGUF file, which is
            all there is, after that; may raise.

    Raises:
        ModelNotFoundError: The name stands for nothing, or it cannot be had now.
        ModelFolderError: The repository holds no checkpoint there.
        CheckpointError: The folder or repository holds neither safetensors nor one GGUF file.
        OptionError: A revision is asked of a local folder.
    """
    model = resolve(name, revision=revision)
    if isinstance(model, LocalModel):
        check_checkpoint_folder(model.path)
        if check is not None:
            check(model.path)
        return LocalCheckpoint(model.path, str(model.path.resolve()), None)
    snapshot = find_snapshot(model, checkpoint=True, offline=offline, update=update)
    if check is not None and not snapshot.is_gguf:
        check(snapshot.path)
    path = fetch(snapshot, offline=offline, progress=progress)
    if check is not None and snapshot.is_gguf:
        check(path)
    return LocalCheckpoint(path, model.source, snapshot.commit)


def check_checkpoint_folder(path: Path) -> None:
    """See that a local path is a checkpoint.

    Raises:
        ModelNotFoundError: There is nothing.
        CheckpointError: It holds something else; the message says what.
    """
    if gguf_file_of(path) is not None or is_checkpoint_folder(path):
        return
    if not path.is_dir():
        raise ModelNotFoundError(
            f"{path} is {'a file' if path.exists() else 'missing'}; a folder or a GGUF file is expected"
        )
    if ModelFolder.is_model_folder(path):
        raise CheckpointError(
            f"{path} is a model folder already, not a checkpoint to export: give the checkpoint that it was made from"
        )
    raise CheckpointError(_explain_no_model(path))


def _explain_no_model(path: Path) -> str:
    """Say what a folder without a model is instead."""
    files = sorted(file.name for file in path.iterdir())
    if any(name.endswith(".onnx") for name in files) and ModelFolder.is_model_folder(path.parent):
        return f"{path} holds only the ONNX files of {path.parent}: pass that folder, and variant (--variant) to choose"
    if "decoder_model.onnx" in files:
        return f"{path}: {NO_CACHE}"
    if len(models := gguf_models(files)) > 1:
        return f"{path} holds {len(models)} GGUF files: name one of them ({', '.join(models[:5])})"
    found = [name for name in files if name.endswith((".bin", ".onnx", ".pth"))]
    return (
        f"{path} is neither a model folder (genai_config.json, or config.json and an ONNX decoder) nor a checkpoint "
        "(config.json and safetensors or pytorch_model.bin, or a GGUF file)"
        + (f"; it holds {', '.join(found[:3])}, which genai does not read" if found else "")
    )
