"""Running an exporter as a program of its own: a job goes in as JSON, a result comes out, all it prints goes to a log.

It knows neither exporter. A program that dies, or that gives a reason why it cannot do the job, becomes an error here.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genai.errors import ExportError, UnsupportedModelError

__all__ = ["run_worker"]

_LOG_FILE = "worker.log"
_SHOWN_CHARACTERS = 4000
_QUIET = {
    "HF_HUB_OFFLINE": "1",  # the checkpoint is here: nothing may be fetched
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONWARNINGS": "ignore",  # nobody reads them, and "error" would end the exporter
    "TOKENIZERS_PARALLELISM": "false",
}


def run_worker(
    interpreter: Sequence[str], script: Path, job: Mapping[str, Any], *, folder: Path, exporter: str
) -> dict[str, Any]:
    """Run `script JOB` and return the result that it writes.

    Args:
        interpreter: The Python program and its own options.
        script: The exporter's program; it imports nothing of genai.
        job: What it is told.
        folder: An existing folder for the job's files; the program may write there.
        exporter: The exporter's name, for messages.

    Raises:
        UnsupportedModelError: The exporter cannot export this model; the message has its reason.
        ExportError: The program could not be started, or ended without a result.
    """
    job_file, result_file = folder / "job.json", folder / "result.json"
    job_file.write_text(json.dumps({**job, "result": str(result_file)}), encoding="utf-8")
    with (folder / _LOG_FILE).open("wb") as log:
        try:
            process = subprocess.Popen(
                [*interpreter, str(script), str(job_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_QUIET},
            )
        except OSError as error:
            raise ExportError(
                f"{interpreter[0]} cannot be started for {exporter}: {error.strerror}"
            ) from error
        try:
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    return _read_result(result_file, folder / _LOG_FILE, status=status, exporter=exporter)


def _read_result(result_file: Path, log: Path, *, status: int, exporter: str) -> dict[str, Any]:
    said = log.read_text(encoding="utf-8", errors="replace")[-_SHOWN_CHARACTERS:]
    error: ExportError | UnsupportedModelError
    if not result_file.is_file():
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
        cause = "it was killed, perhaps for want of memory" if status < 0 else f"status {status}: {last}"
        error = ExportError(f"{exporter} ended without a result ({cause})")
    else:
        result: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
        if "error" not in result:
            return result
        error = UnsupportedModelError(f"{exporter} cannot export it: {result['error']}")
    error.add_note(f"The end of what {exporter} printed:\n{said}")
    raise error
