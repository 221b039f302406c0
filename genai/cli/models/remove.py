"""`genai models remove`: free the disk of a model's exports, and of its download."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from genai.cli.command import command
from genai.cli.output import format_bytes, is_terminal, print_note, print_result
from genai.errors import OptionError

__all__ = ["remove_model"]


@command("genai models remove phi", "genai models remove phi --downloads --yes", name="remove")
def remove_model(
    model: Annotated[
        str, typer.Argument(metavar="M", help="Alias, hub id or path of an exported checkpoint.")
    ],
    *,
    downloads: Annotated[
        bool, typer.Option("--downloads", help="Remove what was downloaded too, not only exports.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a model from this machine.

    Its exports go; what was downloaded goes with --downloads only.
    """
    from genai.hub import find_model
    from genai.hub import remove_model as remove

    entry = find_model(model)
    num_bytes = entry.export_bytes + (entry.download_bytes if downloads else 0)
    if num_bytes and not yes and not _is_confirmed(f"Remove {entry.name} ({format_bytes(num_bytes)})?"):
        print_note("nothing removed")
        return
    freed = remove(model, downloads=downloads)
    print_result(f"removed {entry.name}: {format_bytes(freed)} freed")


def _is_confirmed(question: str) -> bool:
    if not is_terminal(sys.stdin):
        raise OptionError("nobody is there to ask: pass --yes to remove without a question")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
