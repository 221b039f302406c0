"""`genai export`: a checkpoint becomes a model folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genai.cli.command import command
from genai.cli.deploy import DeployFlags, check_deployments, check_is_checkpoint, deploy, find_folder
from genai.cli.options import BlockSize, JsonFlag, OfflineFlag, Revision
from genai.cli.output import format_bytes, print_json, print_note, print_result
from genai.cli.progress import StageProgress
from genai.cli.validate import validate_export
from genai.errors import OptionError

if TYPE_CHECKING:
    from genai.calibration import CalibrationText
    from genai.config import ExportOptions, ExportSettings
    from genai.evaluation import Report
    from genai.export import ExportPlan, ExportProgress
    from genai.folder import ModelFolder
    from genai.hub import LocalCheckpoint

__all__ = ["ExportFlags", "export", "run_export"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFlags:
    """What is exported how, and where to."""

    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder to make.")] = (
        None
    )
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16, bf16, int8, int4, int4-small, or keep for what is quantized already; if not given, the preset's, "
            "else keep where something is quantized, else int4."
        ),
    ] = None
    provider: Annotated[
        str | None,
        typer.Option(
            help="What the folder is made for: cpu (default), cuda, webgpu, ...; it chooses activations, blocks and operators."
        ),
    ] = None
    activations: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16 or bf16: what the graph computes in; if not given, the provider's choice."
        ),
    ] = None
    block_size: BlockSize = None
    max_context: Annotated[
        int | None, typer.Option(min=1, help="Longest sequence that the folder is made for.")
    ] = None
    kv_precision: Annotated[
        str | None,
        typer.Option(
            help="What the KV cache holds: auto (default) is the activations' type; int8 takes a byte per value, a quarter of fp32 and half of fp16."
        ),
    ] = None
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Text to calibrate awq, gptq, a budget of bits and an int8 KV cache with: a .txt or .jsonl file, or a folder of them; else one that comes with genai.",
        ),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at DIR.")] = False
    revision: Revision = None
    offline: OfflineFlag = False
    validate: Annotated[
        bool, typer.Option("--validate/--no-validate", help="Check the folder and run a prompt at the end.")
    ] = True
    json: JsonFlag = False


@command(
    "genai export ./checkpoint -o ./model --precision int4",
    "genai export ./checkpoint -o ./model --quantize gptq --calibration ./letters.txt",
    "genai export microsoft/Phi-4-mini-instruct -o ./phi --precision int8 --block-size 64",
    "genai export ./model-Q4_K_M.gguf -o ./model",
    "genai export ./checkpoint -o ./model --adapter sql=./sql-lora --adapter poems=./poems-lora",
    "genai export ./checkpoint -o ./model --provider cuda",
    "genai export ./checkpoint -o ./model --via transformers",
    "genai export ./checkpoint -o ./model --web ./site",
    "genai export ./model --triton ./repository",
)
def export(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Checkpoint folder, GGUF file, alias or hub id.")
    ],
    *,
    flags: ExportFlags,
    deployments: DeployFlags,
    quantize: Annotated[
        str | None,
        typer.Option(
            help="How 4-bit weights are chosen: rtn (default) or hqq, or by a calibration: awq or gptq."
        ),
    ] = None,
    via: Annotated[
        str,
        typer.Option(help="Exporter: native or transformers; auto takes the first that can do it."),
    ] = "auto",
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="LoRA adapter of PEFT to keep beside the model, for requests to name; may be repeated.",
        ),
    ] = None,
    merge_adapter: Annotated[
        Path | None, typer.Option(metavar="DIR", help="LoRA adapter of PEFT to merge into the weights.")
    ] = None,
) -> None:
    """Export a checkpoint to a model folder.

    The folder runs here and in onnxruntime-genai; nothing appears at DIR until it is complete. --web and --triton make
    something more of it, or of a model folder that is there already, and then need no --output.
    """
    check_deployments(deployments, overwrite=flags.overwrite)
    path = flags.output
    if path is None:
        path = find_folder(checkpoint, deployments)
        _refuse_options(flags, quantize=quantize, via=via, adapter=adapter, merge_adapter=merge_adapter)
    else:
        check_is_checkpoint(checkpoint)
        adapters = _adapters_of(adapter or [])
        run_export(
            checkpoint, flags, quantize=quantize, via=via, adapters=adapters, merge_adapter=merge_adapter
        )
    deploy(path, deployments, overwrite=flags.overwrite, as_json=flags.json)


def _adapters_of(texts: list[str]) -> dict[str, Path]:
    """Return the folders of adapters by name, of texts NAME=DIR.

    >>> _adapters_of(["sql=./a=b"])["sql"].name
    'a=b'
    """
    adapters: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise OptionError(f"--adapter must be NAME=DIR, such as sql=./sql-lora, not {text!r}")
        if name in adapters:
            raise OptionError(
                f"--adapter gives the name {name} to {adapters[name]} and to {folder}: choose another"
            )
        adapters[name] = Path(folder)
    return adapters


def _refuse_options(flags: ExportFlags, **others: object) -> None:
    """See that nothing was asked of an export where none is made.

    Raises:
        OptionError: Something was.
    """
    given = {field.name for field in fields(flags) if getattr(flags, field.name) != field.default}
    given -= {"overwrite", "json"}
    given |= {name for name, value in others.items() if value not in (None, "auto")}
    if given:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise OptionError(
            f"{options}: the model folder is there already, and is taken as it is; export its checkpoint with --output"
        )


def run_export(
    checkpoint: str,
    flags: ExportFlags,
    *,
    quantize: str | None,
    via: str,
    bits_budget: float | None = None,
    adapters: Mapping[str, Path] | None = None,
    merge_adapter: Path | None = None,
) -> None:
    """Export a checkpoint, check the folder, and print what was made."""
    from genai.export import plan_export
    from genai.folder import check_target
    from genai.hub import resolve, resolve_checkpoint
    from genai.hub.presets import export_settings, keeps_quantized

    output = flags.output
    if output is None:
        raise OptionError(f"pass --output DIR (-o): the model folder to make of {checkpoint}")
    preset = resolve(checkpoint, revision=flags.revision).preset
    options = _export_options(flags, via=via, quantize=quantize, bits_budget=bits_budget)
    settings = export_settings(preset, **options)
    text = _read_text(flags.calibration, settings)
    check_target(output, overwrite=flags.overwrite)

    @cache  # planned once, before gigabytes are fetched for an export that cannot be made
    def plan(path: Path) -> ExportPlan:
        return plan_export(
            path,
            settings,
            keeps_quantized=keeps_quantized(preset, **options),
            adapters=adapters,
            merge_adapter=merge_adapter,
        )

    with StageProgress() as progress:
        found = resolve_checkpoint(
            checkpoint, revision=flags.revision, offline=flags.offline, progress=progress, check=plan
        )
    begun = time.perf_counter()
    folder = _make(plan(found.path), found, output, flags, text, preset.license if preset else None)
    seconds = time.perf_counter() - begun
    report = validate_export(output) if flags.validate else None
    _tell(folder, seconds, report, as_json=flags.json)


def _export_options(
    flags: ExportFlags, *, via: str, quantize: str | None, bits_budget: float | None
) -> ExportOptions:
    return {
        "precision": flags.precision,
        "block_size": flags.block_size,
        "max_context": flags.max_context,
        "via": via,
        "quantize": quantize,
        "bits_budget": bits_budget,
        "kv_precision": flags.kv_precision,
        "provider": flags.provider,
        "activations": flags.activations,
    }


def _read_text(path: Path | None, settings: ExportSettings) -> CalibrationText | None:
    """Return the text to calibrate with; `None` for the one that comes with genai, or where none is needed."""
    if path is None:
        return None
    if not settings.needs_text:
        raise OptionError(
            f"calibration means nothing for quantize {settings.quantize}: choose awq or gptq, kv_precision int8, or "
            "bits_budget with genai quantize"
        )
    from genai.calibration import read_calibration_text

    return read_calibration_text(path)


def _make(
    plan: ExportPlan,
    found: LocalCheckpoint,
    output: Path,
    flags: ExportFlags,
    text: CalibrationText | None,
    page_license: str | None,
) -> ModelFolder:
    """Carry out a plan, with a calibration if it asks for one, and show how far it is."""
    with StageProgress(is_quiet=True) as progress, StageProgress(is_quiet=True, unit="layers") as layers:

        def show(step: ExportProgress) -> None:
            tensors = f"{step.num_tensors_done} of {step.num_tensors} tensors"
            progress(f"Exporting {plan.settings.precision_told}", step.bytes_done, step.bytes_total, tensors)

        if plan.settings.needs_text:
            from genai.calibration import export_calibrated

            return export_calibrated(
                plan,
                output,
                text=text,
                overwrite=flags.overwrite,
                advance=layers,
                progress=show,
                source=found.source,
                revision=found.revision,
                note=print_note,
                page_license=page_license,
            )
        from genai.export import carry_out

        return carry_out(
            plan,
            output,
            overwrite=flags.overwrite,
            progress=show,
            source=found.source,
            revision=found.revision,
            note=print_note,
            page_license=page_license,
        )


def _tell(folder: ModelFolder, seconds: float, report: Report | None, *, as_json: bool) -> None:
    """Print what was made."""
    from genai.export.expected_cost import expected_cost

    manifest = folder.manifest
    assert manifest is not None, "an export has a manifest"
    size_bytes = sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file())
    if as_json:
        summary = {
            "path": str(folder.path),
            "source": manifest.source,
            "revision": manifest.revision,
            "architecture": manifest.architecture,
            "exporter": manifest.exporter,
            "exporter_reason": manifest.exporter_notes["reason"],
            "precision": manifest.precision,
            "provider": manifest.provider,
            "activations": manifest.float_type,
            "quantization": dict(manifest.quantization),
            "bits_per_weight": manifest.bits_per_weight,
            "adapters": sorted(manifest.adapters),
            "context_length": folder.decoder.context_length,
            "size_bytes": size_bytes,
            "seconds": round(seconds, 3),
            "validation": report.to_json() if report is not None else None,
        }
        print_json(summary)
        return
    exported = f"exported {_by(manifest.exporter)}in {seconds:.1f} s"
    checked = f", {report.summary()}" if report is not None else ""
    form = f" for {manifest.provider} in {manifest.float_type}" if manifest.provider != "cpu" else ""
    bits = f" ({manifest.bits_per_weight:.2f} bits a weight)" if manifest.bits_per_weight else ""
    adapters = f", with adapters {', '.join(sorted(manifest.adapters))}" if manifest.adapters else ""
    print_result(
        f"{folder.path}: {manifest.precision}{form}, {format_bytes(size_bytes)}{bits}{adapters}, {exported}{checked}"
    )
    if (cost := expected_cost(manifest)) is not None:
        print_result(cost)


def _by(exporter: str) -> str:
    return "" if exporter == "native" else f"via {exporter} "
