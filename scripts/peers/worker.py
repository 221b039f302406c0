"""An engine's process, as the driver sees it: jobs go in, answers come out, and its death is an error of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

__all__ = ["Worker", "WorkerError"]


class WorkerError(Exception):
    """A worker ended before it answered."""


class Worker:
    """A process that runs one of `workers/`.

    Args:
        script: What it runs.
        log: Where its standard error, and whatever an engine prints, is added.
        python: Another environment's interpreter; this one's by default.
        num_threads: What libraries that read OMP_NUM_THREADS take.
    """

    def __init__(
        self, script: Path, *, log: Path, python: str | None = None, num_threads: int | None = None
    ) -> None:
        environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
        if num_threads is not None:
            environment["OMP_NUM_THREADS"] = str(num_threads)
        if python is not None:
            environment.pop("PYTHONPATH", None)  # it is about this interpreter's packages
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log, self._log_start = log, log.stat().st_size if log.exists() else 0
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [python or sys.executable, str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                env=environment,
            )

    def ask(self, do: str, **job: Any) -> dict[str, Any]:
        """Do a job and return its answer.

        Raises:
            WorkerError: The process ended instead.
        """
        stdin, stdout = self._pipes()
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and nothing is to be read either
            stdin.write(json.dumps({"do": do, **job}) + "\n")
            stdin.flush()
        line = stdout.readline()
        if not line:
            raise WorkerError(f"{do}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let the process end."""
        stdin, stdout = self._pipes()
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        self._process.wait()
        stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self.close()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _last_words(self) -> str:
        code = self._process.wait()
        if code < 0:
            return f"ended by signal {-code} ({self._log})"
        lines = self._log.read_bytes()[self._log_start :].decode(errors="replace").splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), f"ended with {code}")
        return f"{said} ({self._log})"
