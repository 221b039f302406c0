"""From a model's name to a model folder that runs: found, downloaded, or exported once and kept.

It joins `genai.hub` with `genai.export`, which it imports only when something has to be exported. It opens no
session.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genai.errors import ModelNotFoundError, OptionError
from genai.folder import CONFIG_FILE, GENERATION_CONFIG_FILE, HF_CONFIG_FILE, ModelFolder
from genai.hub import (
    ExportKey,
    HubModel,
    LocalModel,
    Preset,
    Progress,
    Snapshot,
    Store,
    fetch,
    find_snapshot,
    fingerprint,
    is_checkpoint_folder,
    resolve,
)
from genai.hub.checkpoint import check_checkpoint_folder
from genai.hub.presets import export_settings

if TYPE_CHECKING:
    from genai.export import ExportPlan

__all__ = ["prepare_model"]


@dataclass(frozen=True, slots=True)
class _Request:
    """What a caller of `prepare_model` asked for; `choices` are the settings of an export that it made."""

    choices: Mapping[str, Any]
    variant: str | None
    provider: str
    offline: bool
    update: bool
    progress: Progress | None
    store: Store

    def key(
        self, source: str, revision: str, preset: Preset | None, *, is_quantized: bool = False
    ) -> ExportKey:
        """Name the export that answers the request: with the caller's settings, else the preset's."""
        settings = export_settings(preset, is_quantized=is_quantized, **self.choices)
        return ExportKey(source, revision, settings)

    def find(self, source: str, revision: str, preset: Preset | None) -> ModelFolder | None:
        """Return a stored export that answers the request, of weights that were kept before any other."""
        keys = [self.key(source, revision, preset, is_quantized=quantized) for quantized in (True, False)]
        found = (self.store.find(key) for key in dict.fromkeys(keys))
        return next((folder for folder in found if folder is not None), None)

    def report(self, what: str, done: int, total: int) -> None:
        """Tell the caller how far it is, if it wants to know."""
        if self.progress is not None:
            self.progress(what, done, total)


def prepare_model(
    name: str | Path,
    *,
    precision: str | None = None,
    block_size: int | None = None,
    variant: str | None = None,
    provider: str = "cpu",
    revision: str | None = None,
    offline: bool = False,
    update: bool = False,
    progress: Progress | None = None,
    store: Store | None = None,
) -> ModelFolder:
    """Return the model folder that a path, alias or hub id stands for, after downloading and exporting it if need be.

    A model folder, on disk or in a repository, is taken as it is; a checkpoint, which may be a GGUF file, is exported
    once into the store. Where
    Optimum's or transformers.js' ONNX files lie beside safetensors, those files are run, unless the model is a preset's
    or settings of an export are given. What is already here is used without asking the hub. A preset's generation
    options apply where the model's own generation_config.json says nothing.

    Args:
        name: As for `genai.hub.resolve`.
        precision: Precision of the export; `None` takes the preset's, else "keep" for a checkpoint that is quantized in a
            way that can be kept, else int4.
        block_size: Block size of the export; `None` takes the preset's, else 32.
        variant: Which ONNX file to take where a folder or repository has several ("q4", "fp16", ...).
        provider: The execution provider that is to run it; it decides on the variant where none is given.
        revision: Branch, tag or commit, for a hub repository.
        offline: Use no network (as HF_HUB_OFFLINE=1 does).
        update: Ask the hub for the revision's current commit, and fetch and export it if it is new.
        progress: Told of downloads and exports.
        store: Where exports are kept; by default under GENAI_HOME.

    Raises:
        ModelNotFoundError: The name stands for nothing, or the model cannot be had now.
        ModelFolderError: A model folder is incomplete or damaged.
        CheckpointError: A checkpoint is incomplete, damaged, or of an architecture that is not supported.
        ExportError: The export could not be written.
        OptionError: An option is impossible, or does not fit the model.
    """
    given = {"precision": precision, "block_size": block_size}
    choices = {name: value for name, value in given.items() if value is not None}
    if variant is not None and choices:
        raise OptionError(
            f"variant chooses among ONNX files, {' and '.join(given)} are of an export: give one"
        )
    request = _Request(choices, variant, provider, offline, update, progress, store or Store())
    model = resolve(name, revision=revision)
    folder = _prepare_local(model, request) if isinstance(model, LocalModel) else _prepare_hub(model, request)
    return _with_defaults(folder, model.preset)


def _prepare_local(model: LocalModel, request: _Request) -> ModelFolder:
    path = model.path
    is_exported_anyway = is_checkpoint_folder(path) and not (path / CONFIG_FILE).is_file()
    if ModelFolder.is_model_folder(path) and not (request.choices and is_exported_anyway):
        _check_no_settings(str(path), request)
        return ModelFolder.load(path, variant=request.variant, provider=request.provider)
    if model.preset is not None and not path.exists():
        raise ModelNotFoundError(
            f'the model "{model.preset.alias}" should come with the package and is not at {path}; install genai again'
        )
    check_checkpoint_folder(path)
    if request.variant is not None:
        raise OptionError(
            f'{path} has no variant "{request.variant}": it is a checkpoint; choose the precision of its export'
        )
    source, revision = str(path.resolve()), fingerprint(path)
    key = request.key(source, revision, None, is_quantized=True)
    if request.store.find(key) is None:
        key = request.key(source, revision, None, is_quantized=_is_quantized(path))
    waiting = partial(request.report, f"Waiting for another process that exports {path.name}", 0, 0)
    return request.store.find_or_make(
        key, lambda target: _export_local(path, target, key, request), on_wait=waiting
    )


def _prepare_hub(model: HubModel, request: _Request) -> ModelFolder:
    store = request.store
    if not request.update and request.variant is None:
        commit = store.commit(model.source, model.revision) or model.revision
        if (found := request.find(model.source, commit, model.preset)) is not None:
            return found
    snapshot = find_snapshot(
        model,
        prefer_checkpoint=bool(request.choices) or (model.preset is not None and request.variant is None),
        variant=request.variant,
        provider=request.provider,
        offline=request.offline,
        update=request.update,
    )
    if snapshot.selection.is_model_folder:
        _check_no_settings(model.source, request)
        path = fetch(snapshot, offline=request.offline, progress=request.progress)
        return ModelFolder.load(path, variant=snapshot.selection.variant)
    if snapshot.is_gguf:
        fetch(snapshot, offline=request.offline, progress=request.progress)
    quantized = _is_quantized(snapshot.path)
    key = request.key(model.source, snapshot.commit, model.preset, is_quantized=quantized)
    waiting = partial(request.report, f"Waiting for another process that prepares {model.source}", 0, 0)
    folder = store.find_or_make(
        key, lambda target: _fetch_and_export(snapshot, target, key, request), on_wait=waiting
    )
    store.remember_commit(model.source, model.revision, snapshot.commit)
    return folder


def _is_quantized(checkpoint: Path) -> bool:
    """Whether a checkpoint has quantized weights that can be kept; the exporter is asked only where that may be."""
    config = checkpoint / HF_CONFIG_FILE
    if config.is_file() and "quantization_config" not in config.read_text(encoding="utf-8", errors="replace"):
        return False
    from genai.export import is_quantized

    return is_quantized(checkpoint)


def _export_local(checkpoint: Path, target: Path, key: ExportKey, request: _Request) -> ModelFolder:
    from genai.export import plan_export

    return _export(plan_export(checkpoint, key.settings), target, key, None, request)


def _fetch_and_export(snapshot: Snapshot, target: Path, key: ExportKey, request: _Request) -> ModelFolder:
    from genai.export import plan_export

    # Planned before gigabytes are fetched, perhaps for an export that cannot be made.
    plan = plan_export(snapshot.path, key.settings)
    fetch(snapshot, offline=request.offline, progress=request.progress)
    return _export(plan, target, key, snapshot.commit, request)


def _export(
    plan: ExportPlan, target: Path, key: ExportKey, commit: str | None, request: _Request
) -> ModelFolder:
    from genai.export import carry_out

    what = f"Exporting {Path(key.source).name} to {key.settings.precision}"
    return carry_out(
        plan,
        target,
        progress=lambda step: request.report(what, step.bytes_done, step.bytes_total),
        source=key.source,
        revision=commit,
        note=lambda line: request.report(line, 0, 0),
    )


def _check_no_settings(source: str, request: _Request) -> None:
    if request.choices:
        raise OptionError(
            f"{next(iter(request.choices))} cannot be chosen for {source}: it is a model folder already, not a checkpoint"
        )


def _with_defaults(folder: ModelFolder, preset: Preset | None) -> ModelFolder:
    """Apply the preset's generation options that the folder's generation_config.json does not mention."""
    if preset is None or not preset.generation:
        return folder
    path = folder.path / GENERATION_CONFIG_FILE
    own: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    options = {name: value for name, value in preset.generation.items() if own.get(name) is None}
    if own.get("do_sample") is not None:
        options["do_sample"] = folder.generation.do_sample  # or a preset's temperature would imply it
    return dataclasses.replace(folder, generation=folder.generation.merge(**options))
