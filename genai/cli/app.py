"""The `genai` program: which commands there are, and how wrong usage is reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from genai import __version__
from genai.cli.batch import batch
from genai.cli.benchmark import benchmark
from genai.cli.chat import chat
from genai.cli.command import EXAMPLES_TITLE, EXIT_FAILED, UsageFailure, print_error, reported_errors
from genai.cli.env import env
from genai.cli.evaluate import evaluate
from genai.cli.export import export
from genai.cli.generate import generate
from genai.cli.models import list_models, pull_model, remove_model, show_model
from genai.cli.output import prepare_streams
from genai.cli.providers import providers
from genai.cli.quantize import quantize
from genai.cli.serve import serve
from genai.cli.tokenize import tokenize
from genai.cli.validate import validate
from genai.cli.words import expand_words

__all__ = ["make_app", "run_app"]

SETTINGS = {"help_option_names": ["--help", "-h"], "max_content_width": 100}

SHORT_FORMS = (
    "run MODEL is short for chat --model MODEL; pull, list, show and rm are short for commands of models.\n\n"
)
EXAMPLES = (
    f"\b\n{EXAMPLES_TITLE}\n  genai chat\n  genai chat --model phi\n  genai export ./checkpoint -o ./model"
)


def make_app() -> typer.Typer:
    """Return the program with all its commands."""
    app = typer.Typer(
        name="genai",
        help="Run language models on ONNX Runtime: talk to one, generate text, export a checkpoint.",
        epilog=SHORT_FORMS + EXAMPLES,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=SETTINGS,
    )
    app.callback(invoke_without_command=True)(_program)
    for command in (chat, generate, tokenize, batch, serve, export, quantize):
        command.add_to(app)
    for command in (validate, evaluate, benchmark, providers, env):
        command.add_to(app)
    models = typer.Typer(
        help="List, fetch, inspect and remove models.",
        epilog=f"\b\n{EXAMPLES_TITLE}\n  genai models list",
        rich_markup_mode=None,
        context_settings=SETTINGS,
    )
    models.callback(invoke_without_command=True)(_models)
    for command in (list_models, pull_model, show_model, remove_model):
        command.add_to(models)
    app.add_typer(models, name="models")
    return app


def run_app(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    prepare_streams()
    program = typer.main.get_command(make_app())
    try:
        # Not `program.main`, which answers a closed pipe in its own way.
        with (
            reported_errors(verbose=False),
            program.make_context("genai", expand_words(arguments)) as context,
        ):
            program.invoke(context)
    except UsageFailure as error:
        print_error(_explain_usage(error))
        return int(getattr(error, "exit_code", EXIT_FAILED))
    except typer.Abort:
        return EXIT_FAILED
    except typer.Exit as end:
        return end.exit_code
    return 0


def _explain_usage(error: Exception) -> str:
    message = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    message = message.strip()
    end = "" if message.endswith((".", "?", "!")) else "."
    return f"{message}{end} Try `{context.command_path} --help`." if context is not None else message


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"genai {__version__}")
        raise typer.Exit


def _program(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    assert not version  # its callback has ended the program
    _help_without_command(context)


def _models(context: typer.Context) -> None:
    _help_without_command(context)


def _help_without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
