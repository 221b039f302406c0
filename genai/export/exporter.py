"""The export as a whole: checkpoint in, complete model folder out, or an error and nothing."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from genai._version import __version__
from genai.errors import CheckpointError, ExportError, OptionError
from genai.export.builder import OPSETS, GraphBuilder
from genai.export.checkpoint import Checkpoint, architecture_of, read_config
from genai.export.decoder import build_decoder, check_decoder
from genai.export.families import find_family
from genai.export.family import Family
from genai.export.folder_files import copy_companions, decoder_config, write_json
from genai.export.precision import Precision
from genai.export.spec import DecoderSpec
from genai.export.weights import WeightMap, Weights
from genai.export.writer import ExportProgress, write_graph
from genai.folder import CONFIG_FILE, MANIFEST_FILE, Manifest, ModelFolder, sha256_of, staged_folder

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
) -> ModelFolder:
    """Export a Hugging Face checkpoint to a model folder.

    Weights are read, converted and written a few megabytes at a time. The folder appears at `output` only when it
    is complete.

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

    Raises:
        CheckpointError: The checkpoint is incomplete or damaged, or has a weight that the precision cannot hold.
        UnsupportedModelError: Its architecture, or something its config asks for, is not supported.
        OptionError: The precision, block size or context is impossible.
        ExportError: The target exists, or the disk refuses.
    """
    form = Precision.named(precision, block_size=block_size)
    opened = Checkpoint.open(checkpoint)
    _check_target(Path(output), opened.path)
    with _naming(opened.path):
        family = find_family(opened.architecture)
        spec, weight_map = _read_decoder(family, opened.config, max_context)
        weights = Weights(opened, weight_map, spec, prefixes=family.prefixes, ignored=family.ignored)
        graph = GraphBuilder(form, weights)
        build_decoder(graph, spec)
        settings = decoder_config(opened, family, spec)
    with staged_folder(output, overwrite=overwrite) as folder:
        with _naming(opened.path):
            digests = write_graph(graph, folder, producer=PRODUCER, version=__version__, progress=progress)
        copied = copy_companions(opened, folder)
        write_json(folder / CONFIG_FILE, settings.to_json())
        digests |= {name: sha256_of(folder / name) for name in (*copied, CONFIG_FILE)}
        manifest = Manifest(
            source=source if source is not None else str(opened.path),
            revision=revision,
            architecture=opened.architecture,
            precision=precision,
            quantization=form.scheme.to_json() if form.scheme else {},
            opset=OPSETS,
            versions={PRODUCER: __version__, **{tool: metadata.version(tool) for tool in TOOLS}},
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            files=dict(sorted(digests.items())),
            attributes=_attributes(spec),
        )
        write_json(folder / MANIFEST_FILE, manifest.to_json())
        ModelFolder.load(folder)  # what cannot be read must not appear
    return ModelFolder.load(output)


def check_exportable(
    checkpoint: Path | str, *, precision: str = "int4", block_size: int = 32, max_context: int | None = None
) -> None:
    """See that `export_model` would take a checkpoint, as far as its config.json tells; no weights need be there.

    Raises:
        CheckpointError, UnsupportedModelError, OptionError: As `export_model` would.
    """
    Precision.named(precision, block_size=block_size)
    path = Path(checkpoint)
    with _naming(path):
        config = read_config(path)
        _read_decoder(find_family(architecture_of(config, path)), config, max_context)


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
    if isinstance(max_context, bool) or not isinstance(max_context, int) or max_context < 1:
        raise OptionError(f"max_context must be a whole number >= 1, not {max_context!r}")
    if max_context > spec.max_positions:
        reason = f": {spec.max_positions_reason}" if spec.max_positions_reason else ""
        raise OptionError(
            f"max_context must be at most {spec.max_positions}, the checkpoint's longest sequence, not "
            f"{max_context}{reason}"
        )
    return spec.limited_to(max_context)


def _attributes(spec: DecoderSpec) -> dict[str, object]:
    attributes: dict[str, object] = {}
    if spec.rope_switch_length is not None:
        attributes["rope_switch_length"] = spec.rope_switch_length
    if spec.max_positions_reason is not None:
        attributes["context_limit_reason"] = spec.max_positions_reason
    return attributes
