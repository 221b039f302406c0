"""`genai validate`: whether a model folder is whole, and computes what its checkpoint computes."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genai.cli.command import command
from genai.cli.options import JsonFlag, OfflineFlag, RunFlags, Variant
from genai.cli.output import format_table, print_json, print_note, print_result, uses_color
from genai.cli.progress import StageProgress, StatusLine
from genai.errors import ModelFolderError, OptionError

if TYPE_CHECKING:
    from genai.evaluation import Report

__all__ = ["validate", "validate_export"]

COLORS = {"failed": 31, "skipped": 2}
"""The terminal's red and dim (ECMA-48, select graphic rendition)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonFlags:
    """How the folder is compared with a checkpoint; None leaves the precision's limit."""

    max_error: Annotated[
        float | None, typer.Option(help="Most difference of a logit; 1e-4 for fp32 if not given.")
    ] = None
    max_kl: Annotated[
        float | None, typer.Option(help="Most mean KL divergence, in nats per token; else the precision's.")
    ] = None
    min_top1: Annotated[
        float | None,
        typer.Option("--min-top1", help="Least share of positions with the same best token, 0 to 1."),
    ] = None
    new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Greedy tokens to compare after every prompt; 64 if not given.")
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        """The options that the user gave."""
        return {name: value for name, value in asdict(self).items() if value is not None}


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
    comparison: ComparisonFlags,
    variant: Variant = None,
    runs: RunFlags,
    offline: OfflineFlag = False,
    json: JsonFlag = False,
) -> None:
    """Check a model folder.

    Its files against each other and their checksums, that it runs, that batches and the cache change nothing, and
    with --against that it computes what the checkpoint does. The result is written to the folder's manifest.json.
    """
    from genai.evaluation import find_reference, validate_folder

    if against is None:
        _refuse_without_reference(comparison)
    with StageProgress() as downloads:
        path, is_packaged = _find_folder(model, runs, variant=variant, offline=offline, progress=downloads)
        reference = find_reference(against, offline=offline, progress=downloads) if against else None
    with StatusLine() as stages:
        report = validate_folder(
            path,
            against=reference,
            **comparison.given,
            **runs.options,
            variant=variant,
            progress=stages,
        )
    if json:
        print_json({"path": str(path), **report.to_json()})
    else:
        print_result(_format_report(report))
    if not is_packaged:  # which stays as it was installed
        _record(report)
    _raise_failures(report)


def validate_export(folder: Path) -> Report:
    """Make the quick checks of a folder that was just exported, and keep the result in its manifest.

    Raises:
        ModelFolderError: A check failed.
    """
    from genai.evaluation import check_folder, record_report

    with StatusLine() as stages:
        report = check_folder(folder, progress=stages)
    record_report(report)
    if not report.is_ok:
        raise ModelFolderError(
            f"{folder} was exported, but {report.summary()}; `genai validate {folder}` shows all checks"
        )
    return report


def _find_folder(
    model: str, runs: RunFlags, *, variant: str | None, offline: bool, progress: StageProgress
) -> tuple[Path, bool]:
    """Return the folder that a name stands for, and whether it came with the package."""
    from genai.evaluation import provider_that_runs
    from genai.hub import LocalModel, resolve
    from genai.prepare import prepare_model

    found = resolve(model)
    if isinstance(found, LocalModel):
        return found.path, found.preset is not None
    provider = provider_that_runs(runs.options)
    folder = prepare_model(model, variant=variant, provider=provider, offline=offline, progress=progress)
    return folder.path, False


def _refuse_without_reference(comparison: ComparisonFlags) -> None:
    """See that no option about the comparison with a checkpoint is given where there is none.

    Raises:
        OptionError: One is.
    """
    if given := [f"--{name.replace('_', '-')}" for name in comparison.given]:
        raise OptionError(
            f"{', '.join(given)}: for the comparison with a checkpoint, so give --against CHECKPOINT, too"
        )


def _raise_failures(report: Report) -> None:
    if not report.is_ok:
        names = ", ".join(check.name for check in report.failures)
        raise ModelFolderError(
            f"{report.path} failed {len(report.failures)} of {len(report.checks)} checks: {names}"
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
    from genai.evaluation import record_report

    try:
        record_report(report)
    except ModelFolderError as error:
        print_note(f"the result is not kept: {error}")
