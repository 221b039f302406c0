"""Run the tests of the server's page in a browser: `python -m tests.browser [pytest arguments]`.

Playwright, axe and, where none is installed, Chromium are fetched once, from the package indices of Python and Debian.
"""

from __future__ import annotations

import os
import sys

from tests.fetched import pip_packages

PLAYWRIGHT = ("playwright==1.65.2", "greenlet==3.5.6")


def main(arguments: list[str]) -> None:
    """Become pytest, in an environment that has Playwright."""
    paths = [str(pip_packages(*PLAYWRIGHT)), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "pytest", "-m", "browser", "-n", "0", *arguments]
    if not any(argument.startswith("tests") for argument in arguments):
        command.append("tests/browser")
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))})


if __name__ == "__main__":
    main(sys.argv[1:])
