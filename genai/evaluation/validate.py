"""The two validations as a whole: the quick one that every export ends with, and the full one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from genai.config import RunOptions, check_run_options
from genai.errors import OptionError
from genai.evaluation.checklist import Checklist
from genai.evaluation.report import Report
from genai.evaluation.tolerance import tolerance_for
from genai.hub import LocalCheckpoint, Progress, resolve_checkpoint

if TYPE_CHECKING:
    from genai.evaluation.continuation import Continuation

__all__ = ["check_folder", "find_reference", "validate_folder"]

NUM_PARITY_TOKENS = 64


def check_folder(
    folder: Path | str,
    *,
    variant: str | None = None,
    progress: Progress | None = None,
    **options: Unpack[RunOptions],
) -> Report:
    """Make the quick checks: structure, checksums, and that a prompt runs with finite logits.

    Args:
        folder: The model folder, whoever made it.
        variant: Which of several ONNX files to check, as for `Generator`.
        progress: Called with (what, 0, 0) at every stage.
        options: What to run it on, as for `Generator`.

    Raises:
        OptionError: An option is impossible.
        ProviderError: The named provider is not available here.
    """
    check_run_options(**options)
    checklist = Checklist(Path(folder), progress, options=options, variant=variant)
    checklist.check_structure()
    generator = checklist.load()
    if generator is None:
        checklist.skip("run", reason="the folder is not loaded")
    else:
        with generator:
            checklist.check_run(generator)
    return checklist.report()


def validate_folder(
    folder: Path | str,
    *,
    against: str | Path | LocalCheckpoint | None = None,
    max_error: float | None = None,
    max_kl: float | None = None,
    min_top1: float | None = None,
    new_tokens: int = NUM_PARITY_TOKENS,
    variant: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
    **options: Unpack[RunOptions],
) -> Report:
    """Make all checks: the quick ones, that batches and the cache change nothing, and parity with a checkpoint.

    Args:
        folder: The model folder, whoever made it.
        against: The checkpoint to compare with (a folder, an alias or a hub id); needs torch and transformers.
        max_error: Most absolute difference of a logit; None takes the limit of the folder's precision, as do the next
            two (`genai.evaluation.tolerance` has the limits and their reasons).
        max_kl: Most mean divergence from the checkpoint, in nats per token.
        min_top1: Least share of positions at which both have the same most likely token.
        new_tokens: How many tokens every prompt is continued with for the comparison.
        variant: Which of several ONNX files to check, as for `Generator`.
        offline: Use no network to find the checkpoint.
        progress: Called with (what, done, total) at every stage and while the checkpoint is downloaded.
        options: What to run the folder on, as for `Generator`.

    Raises:
        OptionError: An option is impossible.
        ProviderError: The named provider is not available here.
        GenaiError: torch or transformers is missing, or the name of the checkpoint stands for nothing.
    """
    check_run_options(**options)
    limits = {"max_error": max_error, "max_kl": max_kl, "min_top1": min_top1}
    tolerance_for("fp32", **limits)  # an impossible limit is refused before anything runs
    if new_tokens < 1:
        raise OptionError(f"new_tokens must be at least 1, not {new_tokens}")
    checkpoint = None if against is None else find_reference(against, offline=offline, progress=progress)
    checklist = Checklist(Path(folder), progress, options=options, variant=variant)
    checklist.check_structure()
    tolerance = tolerance_for(checklist.precision or "fp32", **limits)
    generator = checklist.load()
    continuations: list[Continuation] = []
    if generator is None:
        checklist.skip("run", "cached", "batched", reason="the folder is not loaded")
    else:
        with generator:
            checklist.check_run(generator)
            checklist.check_consistency(generator)
            if checkpoint is not None:
                continuations = checklist.continue_prompts(generator, new_tokens)
        checklist.check_exact()
    if checkpoint is not None:
        checklist.check_parity(checkpoint, continuations, tolerance, num_requested=new_tokens)
    return checklist.report()


def find_reference(
    against: str | Path | LocalCheckpoint, *, offline: bool = False, progress: Progress | None = None
) -> LocalCheckpoint:
    """Return the checkpoint to compare with, downloaded if need be.

    Raises:
        GenaiError: torch or transformers is missing, or the name stands for nothing.
    """
    from genai.evaluation import reference  # noqa: F401 (raises before anything is downloaded, if a package is missing)

    if isinstance(against, LocalCheckpoint):
        return against
    return resolve_checkpoint(against, offline=offline, progress=progress)
