"""What every command has in common: an example in its help, --verbose, groups of options, exit codes.

```
@command("genai providers --json")
def providers(*, json: ... = False, model: ModelFlags) -> None:
```
A parameter whose type is a dataclass stands for all the options that the dataclass's fields describe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from genai.cli.output import is_terminal
from genai.errors import GenaiError, OptionError

__all__ = [
    "EXAMPLES_TITLE",
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "Command",
    "UsageFailure",
    "command",
    "print_error",
    "reported_errors",
]

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
EXAMPLES_TITLE = "Examples:"

# typer's own copy of click, or click itself in older releases: what both raise for wrong usage.
UsageFailure: type[Exception] = typer.BadParameter.__mro__[2]

Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the program.

    Args:
        name: What users type.
        function: The function with its option groups.
        examples: Command lines that its help ends with.
    """

    name: str
    function: Callable[..., None]
    examples: tuple[str, ...]

    def add_to(self, app: typer.Typer) -> None:
        """Register it with a typer app."""
        lines = "\n".join(f"  {example}" for example in self.examples)
        app.command(self.name, epilog=f"\b\n{EXAMPLES_TITLE}\n{lines}")(self._flattened())

    def _flattened(self) -> Callable[..., None]:
        """Return the function as typer wants it: one keyword parameter per option, errors turned to exit codes."""
        hints = typing.get_type_hints(self.function, include_extras=True)
        groups: dict[str, type] = {}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(self.function).parameters.values():
            kind = hints[parameter.name]
            if dataclasses.is_dataclass(kind):
                assert isinstance(kind, type)
                groups[parameter.name] = kind
                parameters += _field_parameters(kind)
            else:
                parameters.append(
                    parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
                )
        parameters.append(
            inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Verbose)
        )

        def run(**values: Any) -> None:
            with reported_errors(verbose=values.pop("verbose")):
                for name, kind in groups.items():
                    own = [field.name for field in dataclasses.fields(kind)]
                    values[name] = kind(**{field: values.pop(field) for field in own})
                self.function(**values)

        run.__doc__ = self.function.__doc__
        run.__name__ = self.function.__name__
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run


def command(*examples: str, name: str | None = None) -> Callable[[Callable[..., None]], Command]:
    """Make a command of a function; its docstring is the help, the examples end it."""

    def decorate(function: Callable[..., None]) -> Command:
        return Command(name or function.__name__, function, examples)

    return decorate


@contextlib.contextmanager
def reported_errors(*, verbose: bool) -> Iterator[None]:
    """Turn what the block raises into one line on stderr and `typer.Exit` with the right code.

    A reader that went away (`| head`) is no error; Ctrl-C is quiet.
    """
    try:
        yield
        sys.stdout.flush()
    except (typer.Exit, typer.Abort, UsageFailure):
        raise
    except KeyboardInterrupt:
        if is_terminal(sys.stderr):
            sys.stderr.write("\n")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        _discard_stdout()
        raise typer.Exit(0) from None
    except Exception as error:
        if verbose:
            traceback.print_exc()
        print_error(_explain(error))
        raise typer.Exit(EXIT_USAGE if isinstance(error, OptionError) else EXIT_FAILED) from error


def print_error(message: str) -> None:
    """Write the one line that says what went wrong."""
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    typer.echo(f"genai: error: {line}", err=True)


def _field_parameters(kind: type) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(kind, include_extras=True)
    parameters = []
    for field in dataclasses.fields(kind):
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        parameters.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
            )
        )
    return parameters


def _explain(error: Exception) -> str:
    if isinstance(error, GenaiError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (an error in genai; --verbose shows where)"


def _discard_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of into the closed pipe."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
