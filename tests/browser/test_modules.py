"""The parts of the page that know no browser, by the test runner of the Node that Playwright comes with."""

from __future__ import annotations

import os
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser


def test_modules() -> None:
    import playwright

    node = Path(playwright.__file__).parent / "driver" / "node"
    tests = sorted(Path(__file__).parent.glob("modules/*.test.mjs"))
    assert tests
    environment = {**os.environ, "PAGE": str(files("genai.server") / "page")}
    done = subprocess.run(
        [node, "--no-warnings", "--test", *tests],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
