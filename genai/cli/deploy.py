"""What `genai export` writes of a model folder for other programs: a web page, a repository for Triton."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from genai.cli.output import print_note, print_result
from genai.errors import CheckpointError, ModelNotFoundError, OptionError

__all__ = ["DeployFlags", "check_deployments", "check_is_checkpoint", "deploy", "find_folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployFlags:
    """What is made of the model folder."""

    web: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write a static page that chats in the browser."),
    ] = None
    web_runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder node_modules to copy the page's libraries from; else the page loads them from a CDN.",
        ),
    ] = None
    triton: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write a model repository for Triton.")
    ] = None


def check_deployments(flags: DeployFlags, *, overwrite: bool) -> None:
    """See that everything can be written, before gigabytes are fetched for it.

    Raises:
        ExportError: Something is there already.
        OptionError: A library of the page is missing, or there is no page that it is for.
    """
    from genai.deploy import check_triton_target, check_web_target

    if flags.web is not None:
        check_web_target(flags.web, libraries=flags.web_runtime, overwrite=overwrite)
    elif flags.web_runtime is not None:
        raise OptionError("web_runtime is for the page of --web DIR")
    if flags.triton is not None:
        check_triton_target(flags.triton, overwrite=overwrite)


def find_folder(name: str, flags: DeployFlags) -> Path:
    """Return the model folder that a name stands for, where none is to be made.

    Raises:
        OptionError: It is no model folder, or nothing is to be made of it.
    """
    if (path := _model_folder(name)) is None:
        raise OptionError(f"pass --output DIR (-o): the model folder to make of {name}")
    if flags.web is None and flags.triton is None:
        raise OptionError(
            f"{name} is a model folder already; pass --web DIR or --triton DIR to make something of it"
        )
    return path


def check_is_checkpoint(name: str) -> None:
    """See that a model folder can be made of what a name stands for: that it is none.

    Raises:
        CheckpointError: It is one.
    """
    from genai.hub import is_checkpoint_folder

    if (path := _model_folder(name)) is not None and not is_checkpoint_folder(path):
        raise CheckpointError(
            f"{name} is a model folder already, not a checkpoint to export: give the checkpoint that it was made from, or "
            "leave --output out and pass --web DIR or --triton DIR to make something of the folder"
        )


def _model_folder(name: str) -> Path | None:
    """Return the model folder on this machine that a name stands for; None if it stands for something else."""
    from genai.folder import ModelFolder
    from genai.hub import resolve
    from genai.hub.names import LocalModel

    try:
        found = resolve(name)
    except ModelNotFoundError:
        return None
    return found.path if isinstance(found, LocalModel) and ModelFolder.is_model_folder(found.path) else None


def deploy(path: Path, flags: DeployFlags, *, overwrite: bool, as_json: bool) -> None:
    """Write what is asked for of the model folder at `path`, and say how it is used: beside JSON, on stderr."""
    from genai.deploy import write_triton_repository, write_web_page
    from genai.folder import ModelFolder

    if flags.web is None and flags.triton is None:
        return
    folder = ModelFolder.load(path)
    say = print_note if as_json else print_result
    if flags.web is not None:
        write_web_page(folder, flags.web, libraries=flags.web_runtime, overwrite=overwrite)
        say(f"{flags.web}: serve it with python3 -m http.server --directory {flags.web}")
    if flags.triton is not None:
        write_triton_repository(folder, flags.triton, overwrite=overwrite)
        say(f"{flags.triton}: serve it with tritonserver --model-repository {flags.triton}")
