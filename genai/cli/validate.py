"""`genai validate`: whether a model folder is whole, and computes what its checkpoint computes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genai.cli.command import command
from genai.cli.options import JsonFlag, OfflineFlag, Variant
from genai.cli.output import format_table, print_json, print_note, print_result, uses_color
from genai.cli.progress import StageProgress, StatusLine

if TYPE_CHECKING:
    from genai.evaluation import Report

__all__ = ["validate", "validate_export"]

COLORS = {"failed": 31, "skipped": 2}
"""The terminal's red and dim (ECMA-48, select graphic rendition)."""


@command(
    "genai validate ./model",
    "genai validate ./model --against ./checkpoint",
    "genai validate ./phi --against microsoft/Phi-4-mini-instruct --max-kl 0.2 --json",
)
def validate(
    model: Annotated[str, typer.Argument(metavar="DIR", help="Model folder, alias or hub id.")],
    *,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Compare with this checkpoint (folder, alias or hub id) in transformers.",
        ),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(help="Most difference of a logit; 1e-4 for fp32 if not given.")
    ] = None,
    max_kl: Annotated[
        float | None, typer.Option(help="Most mean KL divergence, in nats per token; else the precision's.")
    ] = None,
    min_top1: Annotated[
        float | None,
        typer.Option("--min-top1", help="Least share of positions with the same best token, 0 to 1."),
    ] = None,
    new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Greedy tokens to compare after every prompt; 64 if not given.")
    ] = None,
    variant: Variant = None,
    provider: Annotated[str, typer.Option(help="Execution provider; `genai providers` lists them.")] = "auto",
    num_threads: Annotated[int | None, typer.Option(min=1, help="Threads per operator.")] = None,
    offline: OfflineFlag = False,
    json: JsonFlag = False,
) -> None:
    """Check a model folder.

    Its files against each other and their checksums, that it runs, that batches and the cache change nothing, and
    with --against that it computes what the checkpoint does. The result is written to the folder's manifest.json.
    """
    from genai.errors import ModelFolderError
    from genai.evaluation import NUM_PARITY_TOKENS, find_reference, validate_folder
    from genai.hub import LocalModel, resolve
    from genai.prepare import prepare_model

    if against is None:
        _refuse_without_reference(
            max_error=max_error, max_kl=max_kl, min_top1=min_top1, new_tokens=new_tokens
        )
    found = resolve(model)
    with StageProgress() as downloads:
        path = (
            found.path
            if isinstance(found, LocalModel)
            else prepare_model(model, variant=variant, offline=offline, progress=downloads).path
        )
        reference = find_reference(against, offline=offline, progress=downloads) if against else None
    with StatusLine() as stages:
        report = validate_folder(
            path,
            against=reference,
            max_error=max_error,
            max_kl=max_kl,
            min_top1=min_top1,
            new_tokens=NUM_PARITY_TOKENS if new_tokens is None else new_tokens,
            provider=provider,
            variant=variant,
            num_threads=num_threads,
            progress=stages,
        )
    if json:
        print_json({"path": str(path), **report.to_json()})
    else:
        print_result(_format_report(report))
    # What comes with the package stays as it was installed.
    if not (isinstance(found, LocalModel) and found.preset is not None):
        _record(report)
    if not report.is_ok:
        names = ", ".join(check.name for check in report.failures)
        raise ModelFolderError(
            f"{path} failed {len(report.failures)} of {len(report.checks)} checks: {names}"
        )


def validate_export(folder: Path) -> Report:
    """Make the quick checks of a folder that was just exported, and keep the result in its manifest.

    Raises:
        ModelFolderError: A check failed.
    """
    from genai.errors import ModelFolderError
    from genai.evaluation import check_folder, record_report

    with StatusLine() as stages:
        report = check_folder(folder, progress=stages)
    record_report(report)
    if not report.is_ok:
        raise ModelFolderError(
            f"{folder} was exported, but {report.summary()}; `genai validate {folder}` shows all checks"
        )
    return report


def _refuse_without_reference(**values: float | None) -> None:
    """See that no option about the comparison with a checkpoint is given where there is none.

    Raises:
        OptionError: One is.
    """
    from genai.errors import OptionError

    given = [f"--{name.replace('_', '-')}" for name, value in values.items() if value is not None]
    if given:
        raise OptionError(
            f"{', '.join(given)}: for the comparison with a checkpoint, so give --against CHECKPOINT, too"
        )


def _format_report(report: Report) -> str:
    rows = [[check.name, check.status, check.detail] for check in report.checks]
    header, *lines = format_table(["CHECK", "RESULT", "DETAIL"], rows).splitlines()
    if uses_color(sys.stdout):
        lines = [
            line if check.status == "ok" else f"\x1b[{COLORS[check.status]}m{line}\x1b[0m"
            for check, line in zip(report.checks, lines, strict=True)
        ]
    return "\n".join([header, *lines])


def _record(report: Report) -> None:
    """Keep the report in the folder, if it can be written to."""
    from genai.errors import ModelFolderError
    from genai.evaluation import record_report

    try:
        record_report(report)
    except ModelFolderError as error:
        print_note(f"the result is not kept: {error}")
