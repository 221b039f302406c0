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

from genai.config import PROVIDER_FORMS, provider_name
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
from genai.hub.presets import export_settings, keeps_quantized

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

    def key(self, source: str, revision: str, preset: Preset | None) -> ExportKey:
        """Name the export that answers the request: with the caller's settings, else the preset's, for the provider."""
        settings = export_settings(preset, **self.choices)
        if self.provider in PROVIDER_FORMS:
            settings = settings.merge(provider=self.provider)
        return ExportKey(source, revision, settings)

    def find_kept(self, key: ExportKey, preset: Preset | None) -> ModelFolder | None:
        """Return the export that keeps a checkpoint's quantized weights, if that is what the request means by a key."""
        if not keeps_quantized(preset, **self.choices):
            return None
        kept = dataclasses.replace(key, settings=key.settings.merge(precision="keep"))
        return self.store.find(kept)

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
    once into the store. Where Optimum's or transformers.js' ONNX files lie beside safetensors, those files are run, unless
    the model is a preset's or settings of an export are given. What is already here is used without asking the hub. A
    preset's generation options apply where the model's own generation_config.json says nothing.

    Args:
        name: As for `genai.hub.resolve`.
        precision: Precision of the export; `None` takes the preset's, else "keep" for a checkpoint that is quantized in a
            way that can be kept, else int4.
        block_size: Block size of the export; `None` takes the preset's, else what `ExportSettings` says.
        variant: Which ONNX file to take where a folder or repository has several ("q4", "fp16", ...).
        provider: The execution provider that is to run it; it decides on the form of an export, and on the variant where
            none is given.
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
    if not isinstance(name, str | Path):
        raise OptionError(f"a model is named by a text or a path, not by {name!r:.200}")
    given = {"precision": precision, "block_size": block_size}
    choices = {name: value for name, value in given.items() if value is not None}
    if variant is not None and choices:
        raise OptionError(
            f"variant chooses among ONNX files, {' and '.join(given)} are of an export: give one"
        )
    request = _Request(choices, variant, provider_name(provider), offline, update, progress, store or Store())
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
    key = request.key(str(path.resolve()), fingerprint(path), None)
    return _find_or_export(path, key, None, None, request)


def _prepare_hub(model: HubModel, request: _Request) -> ModelFolder:
    store = request.store
    if not request.update and request.variant is None:
        commit = store.commit(model.source, model.revision) or model.revision
        key = request.key(model.source, commit, model.preset)
        if (found := request.find_kept(key, model.preset) or store.find(key)) is not None:
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
    if snapshot.is_gguf:  # which tells nothing before it is here
        fetch(snapshot, offline=request.offline, progress=request.progress)
    key = request.key(model.source, snapshot.commit, model.preset)
    folder = _find_or_export(snapshot.path, key, model.preset, snapshot, request)
    store.remember_commit(model.source, model.revision, snapshot.commit)
    return folder


def _find_or_export(
    path: Path, key: ExportKey, preset: Preset | None, snapshot: Snapshot | None, request: _Request
) -> ModelFolder:
    """Return the stored export of a checkpoint, or make it; `snapshot` is what of it may have to be fetched first."""
    if (found := request.find_kept(key, preset)) is not None:
        return found
    keeps = keeps_quantized(preset, **request.choices)
    if not (keeps and _says_quantized(path)) and (found := request.store.find(key)) is not None:
        return found
    from genai.export import plan_export

    # Planned before gigabytes are fetched, perhaps for an export that cannot be made.
    plan = plan_export(path, key.settings, keeps_quantized=keeps)
    key = dataclasses.replace(key, settings=plan.settings)

    def make(target: Path) -> ModelFolder:
        if snapshot is not None:
            fetch(snapshot, offline=request.offline, progress=request.progress)
        commit = snapshot.commit if snapshot is not None else None
        return _export(plan, target, key, commit, preset, request)

    what = f"exports {path.name}" if snapshot is None else f"prepares {key.source}"
    waiting = partial(request.report, f"Waiting for another process that {what}", 0, 0)
    return request.store.find_or_make(key, make, on_wait=waiting)


def _says_quantized(path: Path) -> bool:
    """Whether a checkpoint may be quantized: as GGUF files are, or as its config.json says."""
    config = path / HF_CONFIG_FILE
    return not config.is_file() or b"quantization_config" in config.read_bytes()


def _export(
    plan: ExportPlan,
    target: Path,
    key: ExportKey,
    commit: str | None,
    preset: Preset | None,
    request: _Request,
) -> ModelFolder:
    from genai.export import carry_out

    what = f"Exporting {Path(key.source).name} {key.settings.precision_told}"
    return carry_out(
        plan,
        target,
        progress=lambda step: request.report(what, step.bytes_done, step.bytes_total),
        source=key.source,
        revision=commit,
        note=lambda line: request.report(line, 0, 0),
        page_license=preset.license if preset else None,
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
    if own.get("do_sample") is None:  # a preset's temperature implies it
        return dataclasses.replace(folder, generation=folder.generation.merge(**options))
    return dataclasses.replace(folder, generation=dataclasses.replace(folder.generation, **options))
