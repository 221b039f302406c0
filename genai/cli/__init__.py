"""The command line: `genai chat`, `generate`, `export`, `providers`, `models`.

It parses, shows and chooses exit codes; everything else is done by the layers below, which are imported when a
command runs, so that `genai --help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main", "run"]


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before a command began, or after it ended
        code = 130
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0 fine, 1 failed, 2 wrong usage, 130 interrupted."""
    from genai.cli.app import run_app

    return run_app(arguments)
