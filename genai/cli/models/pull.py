"""`genai models pull`: fetch a model, and export it if it is a checkpoint, so that it later runs offline."""

from __future__ import annotations

from typing import Annotated

import typer

from genai.cli.command import command
from genai.cli.output import print_result
from genai.cli.progress import StageProgress

__all__ = ["pull_model"]


@command("genai models pull phi", "genai models pull owner/name --precision int8 --update", name="pull")
def pull_model(
    model: Annotated[str, typer.Argument(metavar="M", help="Alias, hub id or checkpoint folder.")],
    *,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub repository.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Export a checkpoint as fp32, fp16, bf16, int8 or int4.")
    ] = None,
    block_size: Annotated[
        int | None, typer.Option(help="Weights per scale at int8 and int4: 32 (default), 64 or 128.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Ask the hub whether there is something newer.")
    ] = False,
) -> None:
    """Download and, if need be, export a model.

    Prints the folder; from then on the model runs offline.
    """
    from genai.prepare import prepare_model

    with StageProgress() as progress:
        folder = prepare_model(
            model,
            revision=revision,
            precision=precision,
            block_size=block_size,
            update=update,
            progress=progress,
        )
    print_result(str(folder.path))
