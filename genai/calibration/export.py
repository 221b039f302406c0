"""An export with calibration as a whole: plan and text in, model folder out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from genai.calibration.cache import CacheCalibration
from genai.calibration.calibrate import Calibration
from genai.calibration.corpus import CalibrationText, packaged_text
from genai.calibration.work_folder import WorkFolder, remove_work
from genai.export import Calibrated, ExportPlan, ExportProgress, carry_out
from genai.export.checkpoint.checkpoint import naming_checkpoint
from genai.folder import ModelFolder, check_target

__all__ = ["export_calibrated"]


def export_calibrated(
    plan: ExportPlan,
    output: Path | str,
    *,
    text: CalibrationText | None = None,
    overwrite: bool = False,
    advance: Callable[[str, int, int], None] | None = None,
    progress: Callable[[ExportProgress], None] | None = None,
    source: str | None = None,
    revision: str | None = None,
    note: Callable[[str], None] | None = None,
    page_license: str | None = None,
) -> ModelFolder:
    """Export a checkpoint whose weights, their bits, or the scales of whose cache a text decides on.

    One layer is in memory at a time. What is done is kept beside `output` until the folder is complete: if the process
    dies, the next call with the same plan and text goes on where it was.

    Args:
        plan: An export whose settings need a text.
        output: Folder to make.
        text: The text; the one that comes with the package if not given.
        overwrite: Replace what is at `output`.
        advance: Called with what is being done, and for how many of how many layers it is done.
        progress: Of the export after the calibration, as `genai.export.carry_out` tells it.
        source: Where the checkpoint came from, for the manifest; its path if not given.
        revision: The checkpoint's revision, for the manifest.
        note: Told what is rounded to nearest because it cannot be calibrated.
        page_license: The licence that the checkpoint's page names, for the manifest.

    Raises:
        OptionError: The text is too short, or the settings need none.
        UnsupportedModelError: There is a budget of bits, and matrices that cannot be measured.
        GenaiError: As `genai.export.carry_out`.
    """
    output = Path(output)
    check_target(output, overwrite=overwrite)
    with naming_checkpoint(plan.checkpoint):
        calibration = Calibration.prepare(plan, text or packaged_text())
    if plan.settings.is_calibrated and note is not None and (left_out := calibration.left_out()):
        note(f"These are rounded to nearest, because they cannot be calibrated: {', '.join(left_out)}")
    calibrated = _calibrated(calibration, output, advance)
    folder = carry_out(
        calibration.plan,
        output,
        overwrite=overwrite,
        progress=progress,
        source=source,
        revision=revision,
        calibrated=calibrated,
        page_license=page_license,
    )
    remove_work(output)
    return folder


def _calibrated(
    calibration: Calibration, output: Path, advance: Callable[[str, int, int], None] | None
) -> Calibrated:
    """Decide on the bits of each matrix, on the weights, and on the cache of what comes of these, as far as it is asked for."""
    settings, num_layers = calibration.plan.settings, len(calibration.spec.layers)

    def telling(stage: str, total: int) -> Callable[[int], None]:
        return lambda done: None if advance is None else advance(stage, done, total)

    if settings.bits_budget is not None:
        work = WorkFolder.open(output, calibration.key("budget"))
        calibration = calibration.within_budget(work, telling("Measuring sensitivity", num_layers))
    if settings.is_calibrated:
        work = WorkFolder.open(output, calibration.key("weights"))
        calibration.run(work, telling(f"Calibrating by {settings.quantize}", calibration.num_layers))
        calibrated = calibration.outcome(work)
    else:
        calibrated = calibration.uncalibrated()
    if settings.quantizes_cache:
        cache = CacheCalibration(calibrated, calibration.spec, calibration.text, calibration.sequences)
        work = WorkFolder.open(output, calibration.key("cache"))
        cache.run(work, telling("Calibrating the KV cache", num_layers))
        calibrated = cache.outcome(work)
    return calibrated
