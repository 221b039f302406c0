"""What commands share: option groups, exit codes, error lines."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from genai.cli.command import command, reported_errors
from genai.cli.generation_flags import GenerationFlags, LogprobFlags, SequenceFlags, given_options
from genai.config import GenerationConfig
from genai.errors import ExportError, OptionError


@dataclasses.dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(help="How wide.")] = 1
    tags: Annotated[list[str] | None, typer.Option()] = None


def test_a_dataclass_stands_for_its_fields() -> None:
    seen: list[object] = []

    @command("x --width 3")
    def draw(name: Annotated[str, typer.Argument()], *, size: Size, loud: bool = False) -> None:
        """Draw."""
        seen.extend([name, size, loud])

    app = typer.Typer(rich_markup_mode=None)
    draw.add_to(app)
    result = CliRunner().invoke(app, ["box", "--width", "3", "--tags", "a", "--tags", "b", "--loud"])
    assert result.exit_code == 0, result.output
    assert seen == ["box", Size(3, ["a", "b"]), True]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OptionError("no"), 2, "no"),
        (ExportError("the disk\n  is full"), 1, "the disk is full"),
        (KeyError("x"), 1, "KeyError: 'x' (an error in genai; --verbose shows where)"),
        (FileNotFoundError(2, "No such file", "a.txt"), 1, "a.txt: No such file"),
    ],
)
def test_an_error_is_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, line: str
) -> None:
    with pytest.raises(typer.Exit) as caught, reported_errors(verbose=False):
        raise error
    assert caught.value.exit_code == code
    assert capsys.readouterr().err == f"genai: error: {line}\n"


def test_interruption_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, reported_errors(verbose=False):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err == ""


def test_every_generation_option_is_one_of_the_config() -> None:
    known = {field.name for field in dataclasses.fields(GenerationConfig)}
    for group in (GenerationFlags, LogprobFlags, SequenceFlags):
        assert {field.name for field in dataclasses.fields(group)} <= known


def test_no_option_leaves_the_models_defaults() -> None:
    assert given_options(GenerationFlags(), SequenceFlags()) == {}


@pytest.mark.parametrize(
    "options",
    [
        {"min_new_tokens": 5000},  # the model's own max_new_tokens may allow it
        {"num_beams": 4},
        {"do_sample": False, "seed": 3},
        {"max_new_tokens": 3, "temperature": 0.0},
    ],
)
def test_what_may_be_possible_passes(options: dict[str, object]) -> None:
    assert given_options(GenerationFlags(**options)) == options  # type: ignore[arg-type]


def test_several_sequences_pass_because_the_model_may_sample() -> None:
    assert given_options(SequenceFlags(num_return_sequences=2)) == {"num_return_sequences": 2}


@pytest.mark.parametrize("options", [{"top_p": 0.0}, {"num_beams": 2, "do_sample": True}, {"top_k": -1}])
def test_what_is_never_possible_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        given_options(GenerationFlags(**options))  # type: ignore[arg-type]
