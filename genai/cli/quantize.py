"""`genai quantize`: a checkpoint becomes a model folder of 4-bit weights, chosen by a calibration."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from genai.cli.command import command
from genai.cli.export import ExportFlags, run_export

__all__ = ["quantize"]


@command(
    "genai quantize ./checkpoint -o ./model",
    "genai quantize ./checkpoint -o ./model --calibration ./letters.txt",
    "genai quantize ./checkpoint -o ./model --quantize awq",
    "genai quantize ./checkpoint -o ./model --bits-budget 4.5",
)
def quantize(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Checkpoint folder, GGUF file, alias or hub id.")
    ],
    *,
    flags: ExportFlags,
    method: Annotated[
        str,
        typer.Option(
            "--quantize", help="How 4-bit weights are chosen: gptq, awq, or rtn or hqq without a text."
        ),
    ] = "gptq",
    bits_budget: Annotated[
        float | None,
        typer.Option(
            help="Mean bits per weight, scales included: which matrices get 2, 4 or 8 is measured.",
        ),
    ] = None,
) -> None:
    """Export a checkpoint to 4-bit weights that are chosen by a calibration.

    It runs a text through the layers, one after the other, and takes minutes where `genai export` takes seconds. A
    calibration that was stopped goes on where it was when the same command is given again.
    """
    flags = dataclasses.replace(flags, precision=flags.precision or "int4")
    run_export(checkpoint, flags, quantize=method, bits_budget=bits_budget, via="native")
