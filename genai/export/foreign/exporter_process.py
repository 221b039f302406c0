"""Transformers' exporter as a process: a job goes in as JSON, a result comes out, all that it prints goes to a log.

It knows nothing of graphs. A program that dies, or that gives a reason why it cannot do the job, becomes an error here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genai.errors import ExportError, UnsupportedModelError

__all__ = ["EXPORTER", "PROGRAM", "run_exporter"]

EXPORTER = "transformers' exporter"
"""What messages call it."""

PROGRAM = Path(__file__).with_name("exporter_program.py")
"""The program that the process runs; it imports nothing of genai."""

_LOG_FILE = "exporter.log"
_SHOWN_CHARACTERS = 4000
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # the checkpoint is here: nothing may be fetched
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONWARNINGS": "ignore",  # nobody reads them, and "error" would end the exporter
    "TOKENIZERS_PARALLELISM": "false",
}


def run_exporter(job: Mapping[str, Any], *, folder: Path, program: Path = PROGRAM) -> dict[str, Any]:
    """Run `program JOB` and return the result that it writes.

    Args:
        job: What it is told.
        folder: An existing folder for the job's files; the program may write there.
        program: The exporter's program.

    Raises:
        UnsupportedModelError: The exporter cannot export this model; the message has its reason.
        ExportError: The program could not be started, or ended without a result.
    """
    job_file, result_file = folder / "job.json", folder / "result.json"
    job_file.write_text(json.dumps({**job, "result": str(result_file)}), encoding="utf-8")
    # -P: the program's own folder must not be searched for modules.
    command = [sys.executable, "-P", str(program), str(job_file)]
    with (folder / _LOG_FILE).open("wb") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_ENVIRONMENT},
            )
        except OSError as error:
            raise ExportError(f"{command[0]} cannot be started for {EXPORTER}: {error.strerror}") from error
        try:
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    return _read_result(result_file, folder / _LOG_FILE, status=status)


def _read_result(result_file: Path, log: Path, *, status: int) -> dict[str, Any]:
    said = _COLOURS.sub("", log.read_text(encoding="utf-8", errors="replace"))[-_SHOWN_CHARACTERS:]
    error: ExportError | UnsupportedModelError
    if not result_file.is_file():
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
        cause = "it was killed, perhaps for want of memory" if status < 0 else f"status {status}: {last}"
        error = ExportError(f"{EXPORTER} ended without a result ({cause})")
    else:
        result: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
        if "error" not in result:
            return result
        error = UnsupportedModelError(f"{EXPORTER} cannot export it: {' '.join(result['error'].split())}")
    error.add_note(f"The end of what {EXPORTER} printed:\n{said}")
    raise error
