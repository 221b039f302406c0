"""`genai models pull`: fetch a model, and export it if it is a checkpoint, so that it later runs offline."""

from __future__ import annotations

from typing import Annotated

import typer

from genai.cli.command import command
from genai.cli.options import BlockSize, Precision, Revision, Variant
from genai.cli.output import print_result
from genai.cli.progress import StageProgress

__all__ = ["pull_model"]


@command("genai models pull phi", "genai models pull owner/name --precision int8 --update", name="pull")
def pull_model(
    model: Annotated[str, typer.Argument(metavar="M", help="Alias, hub id or checkpoint folder.")],
    *,
    revision: Revision = None,
    precision: Precision = None,
    block_size: BlockSize = None,
    variant: Variant = None,
    update: Annotated[
        bool, typer.Option("--update", help="Ask the hub whether there is something newer.")
    ] = False,
) -> None:
    """Download and, if need be, export a model.

    Prints the folder; from then on the model runs offline.
    """
    from genai.prepare import prepare_model
    from genai.runtime.providers import preferred_provider

    with StageProgress() as progress:
        folder = prepare_model(
            model,
            revision=revision,
            precision=precision,
            block_size=block_size,
            variant=variant,
            provider=preferred_provider({}),
            update=update,
            progress=progress,
        )
    print_result(str(folder.path))
