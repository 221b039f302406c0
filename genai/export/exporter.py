"""The export as a whole: checkpoint in, complete model folder out, or an error and nothing."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from genai._version import __version__
from genai.errors import CheckpointError, ExportError, UnsupportedModelError
from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.build.decoder_graph import build_decoder, check_decoder
from genai.export.build.graph_builder import OPSETS, GraphBuilder
from genai.export.build.precision import Precision
from genai.export.checkpoint.checkpoint import Checkpoint, architecture_of, read_config
from genai.export.checkpoint.weights import WeightMap, Weights
from genai.export.families import find_family
from genai.export.foreign import check_foreign, draft_foreign
from genai.export.via import check_via
from genai.export.write.draft import Draft, check_context
from genai.export.write.folder_files import copy_companions, decoder_config, write_json
from genai.export.write.graph_writer import ExportProgress, write_graph
from genai.folder import (
    CONFIG_FILE,
    MANIFEST_FILE,
    Manifest,
    ModelFolder,
    check_target,
    sha256_of,
    staged_folder,
)

__all__ = ["check_exportable", "export_model"]

PRODUCER = "genai"
TOOLS = ("onnx", "onnx-ir", "numpy", "ml_dtypes")


def export_model(
    checkpoint: Path | str,
    output: Path | str,
    *,
    precision: str = "int4",
    block_size: int = 32,
    overwrite: bool = False,
    progress: Callable[[ExportProgress], None] | None = None,
    source: str | None = None,
    revision: str | None = None,
    max_context: int | None = None,
    via: str = "auto",
    note: Callable[[str], None] | None = None,
) -> ModelFolder:
    """Export a Hugging Face checkpoint to a model folder.

    The native exporter reads, converts and writes weights a few megabytes at a time, and needs neither torch nor
    transformers; transformers' own loads the checkpoint with both. The folder appears at `output` only when it is complete.

    Args:
        checkpoint: Folder with config.json and safetensors.
        output: Folder to make.
        precision: "fp32", "fp16", "bf16", "int8" or "int4".
        block_size: Weights per scale at int8 and int4: 32, 64 or 128 (any power of two from 16 to 256).
        overwrite: Replace what is at `output`.
        progress: Called after every few megabytes.
        source: Where the checkpoint came from, for the manifest; its path if not given.
        revision: The checkpoint's revision, for the manifest.
        max_context: Longest sequence the folder is made for; the checkpoint's own limit if not given.
        via: "native" or "transformers" names an exporter; "auto" takes the first that takes the model.
        note: Told when an exporter other than the native one is used, and why.

    Raises:
        CheckpointError: The checkpoint is incomplete or damaged, or has a weight that the precision cannot hold.
        UnsupportedModelError: Its architecture, or something its config asks for, is not supported.
        OptionError: The precision, block size or context is impossible.
        ExportError: The target exists, the disk refuses, or the exporter is not installed.
    """
    form = Precision.named(precision, block_size=block_size)
    check_via(via)
    path = Path(checkpoint)
    _check_target(Path(output), path)
    check_target(Path(output), overwrite=overwrite)
    with contextlib.ExitStack() as stack, _naming(path):
        draft = stack.enter_context(_draft(path, Path(output), via, form, max_context, note))
        folder = stack.enter_context(staged_folder(output, overwrite=overwrite))
        digests = write_graph(draft.graph, folder, producer=PRODUCER, version=__version__, progress=progress)
        copied = copy_companions(path, folder)
        write_json(folder / CONFIG_FILE, draft.decoder.to_json())
        digests |= {name: sha256_of(folder / name) for name in (*copied, CONFIG_FILE)}
        manifest = Manifest(
            source=source if source is not None else str(path),
            revision=revision,
            architecture=architecture_of(read_config(path), path),
            precision=precision,
            quantization=form.scheme.to_json() if form.scheme else {},
            opset=draft.opset,
            versions={
                PRODUCER: __version__,
                **{tool: metadata.version(tool) for tool in TOOLS},
                **draft.versions,
            },
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            files=dict(sorted(digests.items())),
            exporter=draft.exporter,
            exporter_notes=draft.notes,
            attributes=draft.attributes,
        )
        write_json(folder / MANIFEST_FILE, manifest.to_json())
        ModelFolder.load(folder)  # what cannot be read must not appear
    return ModelFolder.load(output)


def check_exportable(
    checkpoint: Path | str,
    *,
    precision: str = "int4",
    block_size: int = 32,
    max_context: int | None = None,
    via: str = "auto",
) -> None:
    """See that `export_model` would take a checkpoint, as far as its config.json tells; no weights need be there.

    Raises:
        CheckpointError, UnsupportedModelError, OptionError, ExportError: As `export_model` would.
    """
    Precision.named(precision, block_size=block_size)
    check_via(via)
    path = Path(checkpoint)
    with _naming(path):
        config = read_config(path)
        reason = _why_not_native(path, config, max_context) if via in ("auto", "native") else None
        if via == "native" and reason is not None:
            raise UnsupportedModelError(reason)
        if via == "native" or (via == "auto" and reason is None):
            return
        check_foreign(config, why_not_native=reason)


@contextlib.contextmanager
def _draft(
    path: Path,
    output: Path,
    via: str,
    form: Precision,
    max_context: int | None,
    note: Callable[[str], None] | None,
) -> Iterator[Draft]:
    """Yield what the exporter that `via` stands for makes of a checkpoint."""
    opened = Checkpoint.open(path) if via == "native" else None
    config = read_config(path) if opened is None else opened.config
    reason = _why_not_native(path, config, max_context) if via in ("auto", "native") else None
    if via == "native" and reason is not None:
        raise UnsupportedModelError(reason)
    if via == "native" or (via == "auto" and reason is None):
        yield _native_draft(opened or Checkpoint.open(path), form, max_context)
        return
    with draft_foreign(
        path,
        config,
        why_not_native=reason,
        precision=form,
        beside=output,
        max_context=max_context,
        note=note,
    ) as draft:
        yield draft


def _native_draft(opened: Checkpoint, form: Precision, max_context: int | None) -> Draft:
    family = find_family(opened.architecture)
    spec, weight_map = _read_decoder(family, opened.config, max_context)
    weights = Weights(
        opened,
        weight_map,
        shapes=spec.parameters(),
        num_layers=len(spec.layers),
        tied=spec.tied,
        prefixes=family.prefixes,
        ignored=family.ignored,
    )
    graph = GraphBuilder(form, weights)
    build_decoder(graph, spec)
    return Draft(
        graph=graph,
        decoder=decoder_config(opened, family, spec),
        opset=OPSETS,
        exporter="native",
        notes={"reason": f"{opened.architecture} is one of genai's own families"},
        attributes=_attributes(spec),
    )


def _why_not_native(path: Path, config: Mapping[str, Any], max_context: int | None) -> str | None:
    """Say why the native exporter does not take a config.json; `None` if it does."""
    try:
        _read_decoder(find_family(architecture_of(config, path)), config, max_context)
    except UnsupportedModelError as error:
        return str(error)
    return None


def _read_decoder(
    family: Family, config: Mapping[str, Any], max_context: int | None
) -> tuple[DecoderSpec, WeightMap]:
    """Return the decoder that a config.json describes, and where its parameters are."""
    spec, weight_map = family.read(config)
    check_decoder(spec)
    return _limit_context(spec, max_context), weight_map


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the checkpoint's path before messages that do not name it."""
    try:
        yield
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def _check_target(output: Path, checkpoint: Path) -> None:
    """Refuse to replace the checkpoint, or a folder around it, with the export."""
    target, source = output.resolve(), checkpoint.resolve()
    if target == source or target in source.parents:
        raise ExportError(f"{output}: exporting there would replace the checkpoint; choose another folder")


def _limit_context(spec: DecoderSpec, max_context: int | None) -> DecoderSpec:
    """Return the spec for sequences of at most this length."""
    if max_context is None:
        return spec.limited_to(spec.max_positions)
    check_context(max_context, spec.max_positions, reason=spec.max_positions_reason)
    return spec.limited_to(max_context)


def _attributes(spec: DecoderSpec) -> dict[str, object]:
    attributes: dict[str, object] = {}
    if spec.rope_switch_length is not None:
        attributes["rope_switch_length"] = spec.rope_switch_length
    if spec.max_positions_reason is not None:
        attributes["context_limit_reason"] = spec.max_positions_reason
    return attributes
