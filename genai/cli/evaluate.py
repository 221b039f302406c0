"""`genai evaluate`: how good models are at texts and tasks, and how far they are from a reference."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genai.cli.command import command
from genai.cli.loading import prepare_folder
from genai.cli.options import FolderFlags, JsonFlag, RunFlags
from genai.cli.output import format_bytes, format_table, print_json, print_note, print_result
from genai.cli.progress import StageProgress
from genai.errors import ModelFolderError, OptionError

if TYPE_CHECKING:
    from genai.evaluation.quality import QualityReport, Task, Text, TextQuality
    from genai.folder import ModelFolder
    from genai.generator import Generator

__all__ = ["evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureFlags:
    """What is measured, and on what."""

    text: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Text to score, UTF-8; may be repeated. Else two that come with genai."
        ),
    ] = None
    task: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Multiple-choice questions, in JSON lines; may be repeated."),
    ] = None
    window: Annotated[
        int | None, typer.Option(help="Most tokens that are run together; 1024 if the context has room.")
    ] = None
    stride: Annotated[
        int | None, typer.Option(help="Tokens from one window's beginning to the next's; half a window.")
    ] = None
    layers: Annotated[
        bool, typer.Option("--layers", help="With --against, measure the error behind every layer.")
    ] = False


@command(
    "genai evaluate ./model",
    "genai evaluate ./int8 ./int4 --against ./checkpoint --plot quality.svg",
    "genai evaluate phi --text book.txt --task questions.jsonl --json",
)
def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Model folders, checkpoints, aliases or hub ids.")
    ],
    *,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Compare with this model; a checkpoint is exported at fp32 for it."
        ),
    ] = None,
    measures: MeasureFlags,
    choice: FolderFlags,
    runs: RunFlags,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw quality against size into this file, .png or .svg."),
    ] = None,
    save: Annotated[
        bool, typer.Option("--save/--no-save", help="Keep the figures in folders that genai has exported.")
    ] = True,
    json: JsonFlag = False,
) -> None:
    """Measure how good models are.

    Perplexity on texts, accuracy in multiple-choice tasks, and with --against how far a model's distributions are
    from a reference's: what a quantization has cost. Folders that genai has exported keep the result.
    """
    from genai.evaluation.quality import check_plot, plot_quality, read_task, read_text
    from genai.runtime.providers import preferred_provider

    if measures.layers and against is None:
        raise OptionError("--layers compares with a reference, so give --against MODEL, too")
    if plot is not None:
        check_plot(plot)
    texts = [read_text(path) for path in measures.text] if measures.text else None
    tasks = [read_task(path) for path in measures.task or ()]
    provider = preferred_provider(runs.options)
    with StageProgress() as progress:
        folders = [(model, prepare_folder(model, choice, provider, progress)) for model in models]
        reference = None if against is None else _prepare_reference(against, choice, progress)
    reports = _evaluate_all(
        folders, reference=reference, texts=texts, tasks=tasks, measures=measures, runs=runs
    )
    if save:
        _record(reports)
    if plot is not None:
        plot_quality(reports, plot)
    if json:
        print_json({"against": against, "models": [report.to_json() for report in reports]})
    else:
        _print_tables(reports, has_tasks=bool(tasks), has_layers=measures.layers)


def _prepare_reference(against: str, choice: FolderFlags, progress: StageProgress) -> ModelFolder:
    from genai.evaluation.quality import prepare_reference

    return prepare_reference(against, offline=choice.offline, progress=progress)


def _evaluate_all(
    folders: Sequence[tuple[str, ModelFolder]],
    *,
    reference: ModelFolder | None,
    texts: Sequence[Text] | None,
    tasks: Sequence[Task],
    measures: MeasureFlags,
    runs: RunFlags,
) -> list[QualityReport]:
    """Evaluate one named model after the other, with no more than one and the reference in memory."""
    from genai.evaluation.quality import evaluate_quality

    with contextlib.ExitStack() as stack:
        # A reference has the form that it was made in, whatever the provider leaves of it to the CPU.
        its_runs = dataclasses.replace(runs, strict=False)
        against = None if reference is None else stack.enter_context(_load(reference, its_runs))
        progress = stack.enter_context(StageProgress(is_quiet=True, unit="tokens"))
        reports = []
        for name, folder in folders:
            with _load(folder, runs) as generator:
                reports.append(
                    evaluate_quality(
                        generator,
                        against=against,
                        texts=texts,
                        tasks=tasks,
                        window=measures.window,
                        stride=measures.stride,
                        layers=measures.layers,
                        name=name,
                        progress=progress,
                    )
                )
    return reports


def _load(folder: ModelFolder, runs: RunFlags) -> Generator:
    from genai.generator import Generator

    return Generator(folder, **runs.options)


def _record(reports: Sequence[QualityReport]) -> None:
    """Keep every report in its folder, if it can be written to; what came with the package stays as it was."""
    from genai.evaluation import record
    from genai.hub import load_presets

    packaged = {preset.packaged_path for preset in load_presets()}
    for report in reports:
        if report.path not in packaged:
            try:
                record(report.path, evaluation=report.to_entry())
            except ModelFolderError as error:
                print_note(f"the result is not kept: {error}")


def _print_tables(reports: Sequence[QualityReport], *, has_tasks: bool, has_layers: bool) -> None:
    print_result(_format_texts(reports))
    if has_tasks:
        print_result("\n" + _format_tasks(reports))
    if has_layers:
        print_result("\n" + _format_layers(reports))


def _format_texts(reports: Sequence[QualityReport]) -> str:
    is_compared = reports[0].reference is not None
    header = ["MODEL", "SIZE", "TEXT", "TOKENS", "PERPLEXITY"]
    if is_compared:
        header += ["RATIO", "KL MEAN", "KL MEDIAN", "KL 99%", "SAME TOP"]
    rows = []
    for report in reports:
        texts = [report.overall] if len(report.texts) == 1 else [*report.texts, report.overall]
        for text in texts:
            name = report.texts[0].name if len(texts) == 1 else text.name
            rows.append([report.model, format_bytes(report.num_bytes), name, *_figures(text)])
        rows[-1].append(f"{report.tokens_per_second:.0f}")
    width = len(header) + 1
    return format_table([*header, "TOKENS/S"], [row + [""] * (width - len(row)) for row in rows])


def _figures(text: TextQuality) -> list[str]:
    cells = [f"{text.num_tokens}", f"{text.perplexity:.2f}"]
    if (comparison := text.comparison) is not None:
        cells.append(f"{comparison.perplexity_ratio:.4f}")
        cells += [f"{kl:.4f}" for kl in (comparison.mean_kl, comparison.median_kl, comparison.p99_kl)]
        cells.append(f"{comparison.top1:.1%}")
    return cells


def _format_tasks(reports: Sequence[QualityReport]) -> str:
    rows = [
        [
            report.model,
            task.name,
            f"{task.num_questions}",
            f"{task.accuracy:.1%} ± {task.standard_error:.1%}",
        ]
        for report in reports
        for task in report.tasks
    ]
    return format_table(["MODEL", "TASK", "QUESTIONS", "ACCURACY"], rows)


def _format_layers(reports: Sequence[QualityReport]) -> str:
    columns = [report.layer_errors or () for report in reports]
    rows = [
        [str(layer), *(f"{error:.2%}" for error in errors)]
        for layer, errors in enumerate(zip(*columns, strict=True))
    ]
    return format_table(["LAYER", *(f"ERROR OF {report.model}" for report in reports)], rows)
