"""`genai export`: a checkpoint becomes a model folder."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genai.cli.command import command
from genai.cli.options import BlockSize, JsonFlag, OfflineFlag, Revision
from genai.cli.output import format_bytes, print_json, print_result
from genai.cli.progress import StageProgress

if TYPE_CHECKING:
    from genai.export import ExportProgress

__all__ = ["export"]


@command(
    "genai export ./checkpoint -o ./model --precision int4",
    "genai export microsoft/Phi-4-mini-instruct -o ./phi --precision int8 --block-size 64",
)
def export(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Checkpoint folder, alias or hub id.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to make.")],
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, fp16, bf16, int8 or int4; the preset's if not given, else int4."),
    ] = None,
    block_size: BlockSize = None,
    max_context: Annotated[
        int | None, typer.Option(min=1, help="Longest sequence that the folder is made for.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at DIR.")] = False,
    revision: Revision = None,
    offline: OfflineFlag = False,
    json: JsonFlag = False,
) -> None:
    """Export a checkpoint to a model folder.

    The folder runs here and in onnxruntime-genai; nothing appears at DIR until it is complete.
    """
    from genai.export import check_exportable, export_model
    from genai.export.precision import Precision
    from genai.folder import check_target
    from genai.hub import resolve, resolve_checkpoint
    from genai.hub.presets import export_settings

    preset = resolve(checkpoint, revision=revision).preset
    precision, block_size = export_settings(preset, precision=precision, block_size=block_size)
    # All of this before gigabytes are fetched for an export that cannot be made.
    Precision.named(precision, block_size=block_size)
    check_target(output, overwrite=overwrite)
    check = partial(check_exportable, precision=precision, block_size=block_size, max_context=max_context)
    with StageProgress() as progress:
        found = resolve_checkpoint(
            checkpoint, revision=revision, offline=offline, progress=progress, check=check
        )
    begun = time.perf_counter()
    with StageProgress(is_quiet=True) as progress:

        def show(step: ExportProgress) -> None:
            tensors = f"{step.num_tensors_done} of {step.num_tensors} tensors"
            progress(f"Exporting to {precision}", step.bytes_done, step.bytes_total, tensors)

        folder = export_model(
            found.path,
            output,
            precision=precision,
            block_size=block_size,
            overwrite=overwrite,
            progress=show,
            source=found.source,
            revision=found.revision,
            max_context=max_context,
        )
    seconds = time.perf_counter() - begun
    size_bytes = sum(file.stat().st_size for file in output.iterdir() if file.is_file())
    if json:
        assert folder.manifest is not None
        summary = {
            "path": str(output),
            "source": found.source,
            "revision": found.revision,
            "architecture": folder.manifest.architecture,
            "precision": precision,
            "quantization": dict(folder.manifest.quantization),
            "context_length": folder.decoder.context_length,
            "size_bytes": size_bytes,
            "seconds": round(seconds, 3),
        }
        print_json(summary)
    else:
        print_result(f"{output}: {precision}, {format_bytes(size_bytes)}, exported in {seconds:.1f} s")
