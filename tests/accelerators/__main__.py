"""Run the tests of one accelerator in the environment that it needs: `python -m tests.accelerators cuda [arguments]`.

The arguments are pytest's. What the environment lacks is fetched from the package index and built, once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from tests.accelerators.cuda import cuda_environment
from tests.accelerators.webgpu_environment import webgpu_environment

ENVIRONMENTS: Mapping[str, tuple[str, Callable[[], dict[str, str]]]] = {
    "cuda": ("cuda_stub", cuda_environment),
    "webgpu": ("webgpu", webgpu_environment),
}
"""By what a user calls it: the marker of its tests, and what returns the variables of its environment."""


def main(arguments: list[str]) -> None:
    """Become pytest in an environment, since the loader reads its variables when a process starts."""
    if not arguments or arguments[0] not in ENVIRONMENTS:
        sys.exit(f"usage: python -m tests.accelerators {'|'.join(ENVIRONMENTS)} [pytest arguments]")
    name, *rest = arguments
    marker, environment = ENVIRONMENTS[name]
    variables = environment()
    paths = [variables.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
    python_path = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, "-m", "pytest", "-m", marker, *rest]
    if not any(argument.startswith("tests") for argument in rest):
        command.append("tests/accelerators")
    os.execve(sys.executable, command, {**os.environ, **variables, "PYTHONPATH": python_path})


if __name__ == "__main__":
    main(sys.argv[1:])
