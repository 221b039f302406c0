"""A model in a process of its own, seen from outside: calls go in, answers or errors come out.

So a model's memory and the time to load it are its own, and two of them can take turns.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import genai
from genai.errors import GenaiError, GenerationError

__all__ = ["WorkerProcess"]

COMMAND = (sys.executable, "-P", "-m", "genai.benchmark.worker")
SECONDS_TO_END = 10.0


class WorkerProcess:
    """A process that measures one model; a context manager that ends it, at once where the block fails.

    Args:
        name: What messages call the model.

    Raises:
        GenerationError: The process cannot be started.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        path = os.pathsep.join(
            filter(None, (str(Path(genai.__file__).parents[1]), os.environ.get("PYTHONPATH")))
        )
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                # Not among those that a terminal's Ctrl-C reaches: whoever started it ends it.
                process_group=None if sys.platform == "win32" else 0,
            )
        except OSError as error:
            raise GenerationError(
                f"{COMMAND[0]} cannot be started to measure {name}: {error.strerror}"
            ) from error

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def call(self, name: str, **arguments: Any) -> Any:
        """Return what a method of `genai.benchmark.measure.Bench` gives in the process.

        Raises:
            GenaiError: What the method raises, or the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((name, arguments), self._process.stdin)
            self._process.stdin.flush()
            result, error = pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as failure:
            raise GenerationError(self._explain_end()) from failure
        if error is not None:
            assert isinstance(error, GenaiError)
            raise error
        return result

    def close(self) -> None:
        """Let the process end, and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.kill()
        self.close()

    def _explain_end(self) -> str:
        """Say why there are no answers any more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_END)
        status = self._process.poll()
        cause = "it was killed, perhaps for want of memory" if status and status < 0 else f"status {status}"
        return f"the process that measured {self._name} has ended ({cause})"
