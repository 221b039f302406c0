"""The program of a process that holds one model: it takes the names of measurements and answers with what they give.

    python -m genai.benchmark.worker

Calls and answers are pickles, through standard input and what was standard output; it ends with its input.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from typing import Any, BinaryIO

from genai.benchmark.measure import Bench
from genai.errors import GenaiError, GenerationError

__all__ = ["serve"]


def serve(calls: BinaryIO, answers: BinaryIO) -> None:
    """Answer calls, (method of `Bench`, its arguments), with (result, None) or (None, error), until there are no more."""
    bench = Bench()
    while True:
        try:
            name, arguments = pickle.load(calls)
        except EOFError:
            return
        answer: tuple[Any, GenaiError | None]
        try:
            answer = getattr(bench, name)(**arguments), None
        except GenaiError as error:
            answer = None, error
        except Exception as error:  # noqa: BLE001 (whatever it is, the one who asked has to hear of it)
            answer = None, GenerationError(f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()


def main() -> None:
    """Serve the process that has started this one; whatever prints goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asked ends this process
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
