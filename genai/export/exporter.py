"""The export as a whole: checkpoint in, complete model folder out, or an error and nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

from genai._version import __version__
from genai.config import EXPORT_VERSION, ExportSettings
from genai.errors import ExportError, OptionError
from genai.export.architecture import DecoderSpec
from genai.export.build.adapters import adapted_products
from genai.export.build.balance import balanced
from genai.export.build.carried import describe_carried
from genai.export.build.decoder_graph import build_decoder
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.precision import Precision
from genai.export.build.provider_checks import describe_left
from genai.export.checkpoint.checkpoint import Checkpoint, naming_checkpoint
from genai.export.checkpoint.formats import open_checkpoint, write_text_files
from genai.export.checkpoint.license import stated_license
from genai.export.checkpoint.merged import MergedCheckpoint
from genai.export.checkpoint.peft import PeftAdapter
from genai.export.checkpoint.rows import Rows
from genai.export.checkpoint.weights import Weights, stores_own_head
from genai.export.foreign import draft_foreign
from genai.export.plan import ExportPlan, NativeDecoder, plan_export
from genai.export.write.draft import Draft
from genai.export.write.folder_files import decoder_config, write_json
from genai.export.write.graph_writer import MODEL_FILE, ExportProgress, write_graph
from genai.folder import (
    CARD_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    Manifest,
    ModelFolder,
    check_target,
    model_card,
    sha256_of,
    staged_folder,
    write_genai_config,
)
from genai.folder.adapter_files import LowRank, write_adapter
from genai.folder.files import ADAPTER_SUFFIX, ADAPTERS_FOLDER
from genai.graph.opset import ONNX, OPSETS

__all__ = ["Calibrated", "carry_out", "export_model", "open_weights", "with_stored_head"]

PRODUCER = "genai"
TOOLS = ("onnx", "onnx-ir", "numpy", "ml_dtypes")


@dataclasses.dataclass(frozen=True, slots=True)
class Calibrated:
    """What a calibration has made of a decoder's weights, and of its cache.

    Args:
        precision: How each of them is stored.
        parameters: All of them, by canonical name; with the scales of a cache that holds codes
            (`genai.export.build.cache_scales`).
        notes: What the manifest says of it.
    """

    precision: Precision
    parameters: Mapping[str, Rows]
    notes: Mapping[str, object]


def export_model(
    checkpoint: Path | str,
    output: Path | str,
    *,
    precision: str | None = None,
    block_size: int | None = None,
    overwrite: bool = False,
    progress: Callable[[ExportProgress], None] | None = None,
    source: str | None = None,
    revision: str | None = None,
    max_context: int | None = None,
    via: str = "auto",
    provider: str | None = None,
    activations: str | None = None,
    adapters: Mapping[str, Path | str] | None = None,
    merge_adapter: Path | str | None = None,
    note: Callable[[str], None] | None = None,
) -> ModelFolder:
    """Export a Hugging Face checkpoint to a model folder.

    The native exporter reads, converts and writes weights a few megabytes at a time, and needs neither torch nor
    transformers; transformers' own loads the checkpoint with both. The folder appears at `output` only when it is complete.

    Args:
        checkpoint: Folder with config.json and safetensors, or a GGUF file.
        output: Folder to make.
        precision: "fp32", "fp16", "bf16", "int8", "int4" or "int4-small"; "keep" takes over what a checkpoint has quantized
            as it is. That is the default where there is something to keep, else "int4".
        block_size: Weights per scale at int8 and int4: 32, 64 or 128 (any power of two from 16 to 256); if not given,
            what `ExportSettings` says.
        overwrite: Replace what is at `output`.
        progress: Called after every few megabytes.
        source: Where the checkpoint came from, for the manifest; its path if not given.
        revision: The checkpoint's revision, for the manifest.
        max_context: Longest sequence the folder is made for; the checkpoint's own limit if not given.
        via: "native" or "transformers" names an exporter; "auto" takes the first that takes the model.
        provider: The execution provider that the folder is made for; "cpu" if not given.
        activations: "fp32", "fp16" or "bf16", which the graph computes in; the provider's choice if not given.
        adapters: Folders of PEFT with LoRA adapters to keep beside the model, by the names that requests give them.
        merge_adapter: A folder with an adapter to merge into the weights.
        note: Told when an exporter other than the native one is used, and why, and what the provider leaves to the CPU.

    Raises:
        CheckpointError: The checkpoint is incomplete or damaged, or has a weight that the precision cannot hold.
        UnsupportedModelError: Its architecture, or something its config asks for, is not supported.
        OptionError: The precision, block size or context is impossible.
        ExportError: The target exists, the disk refuses, or the exporter is not installed.
    """
    settings = ExportSettings(max_context=max_context, via=via).merge(
        precision=precision, block_size=block_size, provider=provider, activations=activations
    )
    return carry_out(
        plan_export(
            checkpoint,
            settings,
            keeps_quantized=precision is None and block_size is None,
            adapters=adapters,
            merge_adapter=merge_adapter,
        ),
        output,
        overwrite=overwrite,
        progress=progress,
        source=source,
        revision=revision,
        note=note,
    )


def carry_out(
    plan: ExportPlan,
    output: Path | str,
    *,
    overwrite: bool = False,
    progress: Callable[[ExportProgress], None] | None = None,
    source: str | None = None,
    revision: str | None = None,
    note: Callable[[str], None] | None = None,
    calibrated: Calibrated | None = None,
    page_license: str | None = None,
) -> ModelFolder:
    """Make the model folder of a plan, whose checkpoint is whole by now; arguments and errors as `export_model`'s.

    What settings of the plan ask to be calibrated, `genai.calibration.export_calibrated` exports: it gives `calibrated`,
    which takes the place of the checkpoint's weights. `page_license` is what the checkpoint's page names as its licence,
    for a checkpoint that does not itself.
    """
    if plan.settings.needs_text and calibrated is None:
        raise OptionError(
            f"{' and '.join(plan.settings.text_options)} needs a calibration: export with `genai export`, `genai quantize` or "
            "genai.calibration.export_calibrated"
        )
    output = Path(output)
    _check_target(output, plan.checkpoint)
    check_target(output, overwrite=overwrite)
    with contextlib.ExitStack() as stack, naming_checkpoint(plan.checkpoint):
        plan = with_stored_head(plan)
        draft = stack.enter_context(_draft(plan, output, note, calibrated))
        if note is not None and (left := describe_left(draft.graph.nodes, plan.settings)) is not None:
            note(left)
        staged = stack.enter_context(staged_folder(output, overwrite=overwrite))
        digests = _write_files(plan, draft, staged, progress)
        manifest = dataclasses.replace(
            _manifest(plan, draft, digests, source=source, revision=revision),
            license=stated_license(plan.checkpoint) or page_license,
            num_bytes=sum((staged / name).stat().st_size for name in digests if name.startswith(MODEL_FILE)),
        )
        write_json(staged / MANIFEST_FILE, manifest.to_json())
        (staged / CARD_FILE).write_text(model_card(manifest), encoding="utf-8")
        folder = ModelFolder.load(staged)  # what cannot be read must not appear
    return dataclasses.replace(folder, path=output)


def _draft(
    plan: ExportPlan, output: Path, note: Callable[[str], None] | None, calibrated: Calibrated | None
) -> contextlib.AbstractContextManager[Draft]:
    """Return a context that holds the draft of the plan's exporter, and what the draft reads from."""
    if plan.native is not None:
        return contextlib.nullcontext(_native_draft(plan, plan.native, calibrated))
    return draft_foreign(
        plan.checkpoint,
        plan.config,
        why_not_native=plan.why_not_native,
        precision=plan.precision,
        beside=output,
        max_context=plan.settings.max_context,
        note=note,
    )


def open_weights(plan: ExportPlan, decoder: NativeDecoder) -> Weights:
    """Return the parameters of a plan's decoder, as views of its checkpoint.

    Raises:
        CheckpointError: The checkpoint is incomplete or damaged.
        UnsupportedModelError: It has tensors that nothing uses.
    """
    return _weights_of(_checkpoint_of(plan), decoder)


def with_stored_head(plan: ExportPlan) -> ExportPlan:
    """Return a plan whose decoder has the head that its checkpoint, whole by now, stores, unless config.json ties it.

    Where the key is left out, transformers ties a head that is missing or the embedding, and no other: Mistral Small 3.1
    stores one, although its class ties.

    Raises:
        CheckpointError: The checkpoint is incomplete or damaged.
    """
    decoder = plan.native
    if decoder is None or not decoder.spec.tied or "tie_word_embeddings" in plan.config:
        return plan
    if not stores_own_head(_checkpoint_of(plan), decoder.weight_map, decoder.family.prefixes):
        return plan
    untied = dataclasses.replace(decoder.spec, tied=False)
    return dataclasses.replace(plan, native=dataclasses.replace(decoder, spec=untied))


def _checkpoint_of(plan: ExportPlan) -> Checkpoint:
    """Open a plan's checkpoint, with the adapter merged into it that the plan has for that."""
    checkpoint = open_checkpoint(plan.checkpoint, plan.config)
    return checkpoint if plan.merged is None else MergedCheckpoint(checkpoint, plan.merged)


def _weights_of(checkpoint: Checkpoint, decoder: NativeDecoder) -> Weights:
    family, spec = decoder.family, decoder.spec
    return Weights(
        checkpoint,
        decoder.weight_map,
        shapes=spec.parameters(),
        num_layers=len(spec.layers),
        tied=spec.tied,
        prefixes=family.prefixes,
        ignored=family.ignored,
    )


def _native_draft(plan: ExportPlan, decoder: NativeDecoder, calibrated: Calibrated | None) -> Draft:
    checkpoint = _checkpoint_of(plan)
    family, spec = decoder.family, decoder.spec
    adapters: dict[str, Mapping[str, LowRank]] = {}
    if calibrated is not None:
        graph = GraphBuilder(calibrated.precision, calibrated.parameters)
    else:
        weights = _weights_of(checkpoint, decoder)
        precision = plan.precision.mixed_for(weights)
        graph = GraphBuilder(precision, balanced(weights, spec, precision))
    build_decoder(graph, spec)
    if calibrated is None:
        adapters = {
            name: adapted_products(graph, weights, adapter) for name, adapter in plan.adapters.items()
        }
    return Draft(
        graph=graph,
        quantization=graph.precision.to_json(),
        decoder=decoder_config(checkpoint, family, spec),
        opset={**OPSETS, ONNX: plan.precision.form.opset},
        exporter="native",
        notes=_notes(plan, graph, calibrated),
        attributes=_attributes(spec),
        num_parameters=sum(math.prod(shape) for shape in spec.parameters().values()),
        adapters=adapters,
    )


def _notes(plan: ExportPlan, graph: GraphBuilder, calibrated: Calibrated | None) -> dict[str, object]:
    notes: dict[str, object] = {"reason": f"{plan.architecture} is one of genai's own families"}
    if calibrated is not None:
        notes |= calibrated.notes
    if not plan.settings.is_calibrated and (weights := describe_carried(graph)):
        notes["quantized_weights"] = weights
    if plan.merged is not None:
        notes["merged_adapter"] = _describe_adapter(plan.merged)
    return notes


def _describe_adapter(adapter: PeftAdapter) -> dict[str, object]:
    """Return what the manifest says of an adapter."""
    num_modules = len(adapter.modules) + len(adapter.embeddings)
    return {"source": str(adapter.path), "rank": adapter.max_rank, "modules": num_modules}


def _attributes(spec: DecoderSpec) -> dict[str, object]:
    attributes: dict[str, object] = {}
    if spec.rope_switch_length is not None:
        attributes["rope_switch_length"] = spec.rope_switch_length
    if spec.max_positions_reason is not None:
        attributes["context_limit_reason"] = spec.max_positions_reason
    if spec.attention is None:
        attributes["state_bytes"] = spec.state_bytes
    return attributes


def _write_files(
    plan: ExportPlan, draft: Draft, folder: Path, progress: Callable[[ExportProgress], None] | None
) -> dict[str, str]:
    """Write every file but the manifest; return their sha256 by name."""
    digests = write_graph(draft.graph, folder, producer=PRODUCER, version=__version__, progress=progress)
    for name, products in draft.adapters.items():
        file = f"{ADAPTERS_FOLDER}/{name}{ADAPTER_SUFFIX}"
        (folder / ADAPTERS_FOLDER).mkdir(exist_ok=True)
        write_adapter(folder / file, products)
        digests[file] = sha256_of(folder / file)
    copied = write_text_files(plan.checkpoint, folder)
    write_json(folder / CONFIG_FILE, write_genai_config(draft.decoder))
    return digests | {name: sha256_of(folder / name) for name in (*copied, CONFIG_FILE)}


def _manifest(
    plan: ExportPlan, draft: Draft, digests: Mapping[str, str], *, source: str | None, revision: str | None
) -> Manifest:
    tools = {tool: metadata.version(tool) for tool in TOOLS}
    return Manifest(
        source=source if source is not None else str(plan.checkpoint),
        revision=revision,
        architecture=plan.architecture,
        precision=plan.settings.precision,
        quantization=draft.quantization,
        opset=draft.opset,
        versions={PRODUCER: __version__, **tools, **draft.versions},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        files=dict(sorted(digests.items())),
        exporter=draft.exporter,
        exporter_notes=draft.notes,
        settings=dataclasses.asdict(plan.settings),
        export_version=EXPORT_VERSION,
        attributes=draft.attributes,
        num_parameters=draft.num_parameters,
        adapters={name: _describe_adapter(adapter) for name, adapter in plan.adapters.items()},
    )


def _check_target(output: Path, checkpoint: Path) -> None:
    """Refuse to replace the checkpoint, or a folder around it, with the export."""
    target, source = output.resolve(), checkpoint.resolve()
    if target == source or target in source.parents:
        raise ExportError(f"{output}: exporting there would replace the checkpoint; choose another folder")
