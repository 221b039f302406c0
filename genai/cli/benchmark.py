"""`genai benchmark`: how fast a model is, what share of the machine that is, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genai.cli.benchmark_tables import format_report
from genai.cli.command import command
from genai.cli.loading import prepare_folder
from genai.cli.options import FolderFlags, JsonFlag, MaxContext, RunFlags
from genai.cli.output import print_json, print_note, print_result
from genai.cli.progress import StageProgress
from genai.errors import OptionError

if TYPE_CHECKING:
    from genai.benchmark import BenchmarkReport, BenchmarkSettings, OpeningOptions
    from genai.folder import ModelFolder

__all__ = ["benchmark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureFlags:
    """What is measured, and how often."""

    prompt_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Lengths of prompts; 64,512,2048 as far as the context has room. 0 for none.",
        ),
    ] = None
    past: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="Lengths after which only decoding is measured, out of the cache."
        ),
    ] = None
    new_tokens: Annotated[int, typer.Option(min=2, help="Tokens that every prompt is continued with.")] = 64
    batch: Annotated[
        str, typer.Option(metavar="N,N,...", help="Numbers of prompts to continue at once; 0 for none.")
    ] = "1,4,8"
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 5
    warmup: Annotated[int, typer.Option(min=0, help="How often it runs before that.")] = 1
    profile: Annotated[
        bool, typer.Option("--profile/--no-profile", help="Look into a prompt and a step by operator.")
    ] = True
    limits: Annotated[
        bool, typer.Option("--limits/--no-limits", help="Measure what the machine can do at most.")
    ] = True


@command(
    "genai benchmark ./model",
    "genai benchmark ./int4 --compare ./int8 --prompt-tokens 64,512 --plot speed.svg",
    "genai benchmark smollm2 --past 1024,4096 --batch 0 --num-threads 2 --json",
)
def benchmark(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Model folder, checkpoint, GGUF file, alias or hub id.")
    ],
    *,
    compare: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Measure this model too, in turns with the first.")
    ] = None,
    measures: MeasureFlags,
    choice: FolderFlags,
    runs: RunFlags,
    max_context: MaxContext = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the speeds into this file, .png or .svg.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Measure how fast a model is.

    Time to first token, the speed of prompts, of decoding and of batches, loading, memory and energy; beside them what
    the machine can do at most, and by operator where the time goes. Every model runs in a process of its own.
    """
    from genai.benchmark import OpeningOptions, check_plot, plot_benchmark
    from genai.runtime.providers import preferred_provider

    settings = _settings(measures)
    if plot is not None:
        check_plot(plot)
    models = [model] if compare is None else [model, compare]
    provider = preferred_provider(runs.options)
    with StageProgress() as progress:
        folders = [prepare_folder(each, choice, provider, progress) for each in models]
    report = _measure(models, folders, settings, OpeningOptions(max_context=max_context, **runs.options))
    if plot is not None:
        plot_benchmark(report, plot)
    if json:
        print_json(report.to_json())
        return
    for note in report.notes:
        print_note(note)
    print_result(format_report(report))


def _measure(
    models: Sequence[str],
    folders: Sequence[ModelFolder],
    settings: BenchmarkSettings,
    opening: OpeningOptions,
) -> BenchmarkReport:
    from genai.benchmark import benchmark_model

    with StageProgress(is_quiet=True, unit="measurements") as progress:
        return benchmark_model(
            folders[0],
            compare=folders[1] if len(folders) > 1 else None,
            settings=settings,
            opening=opening,
            names=models,
            progress=progress,
        )


def _settings(flags: MeasureFlags) -> BenchmarkSettings:
    from genai.benchmark import BenchmarkSettings

    return BenchmarkSettings(
        prompt_tokens=None
        if flags.prompt_tokens is None
        else _numbers("--prompt-tokens", flags.prompt_tokens),
        past=_numbers("--past", flags.past or "0"),
        new_tokens=flags.new_tokens,
        batch=_numbers("--batch", flags.batch),
        repeats=flags.repeats,
        warmup=flags.warmup,
        profile=flags.profile,
        limits=flags.limits,
    )


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Return the numbers of a list, each once.

    >>> _numbers("--batch", "1,4, 8"), _numbers("--batch", "0")
    ((1, 4, 8), ())
    """
    if text.strip() == "0":
        return ()
    try:
        numbers = [int(each) for each in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise OptionError(
            f"{option} must be whole numbers of at least 1 between commas, such as 64,512, not {text!r}"
        )
    return tuple(dict.fromkeys(numbers))
