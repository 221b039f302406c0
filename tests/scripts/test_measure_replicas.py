"""The measurement of replicas runs, here without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_process_is_measured() -> None:
    script = str(ROOT / "scripts" / "measure_replicas.py")
    load = ["--replicas", "--rates", "8", "--seconds", "2", "--warm-up", "0", "--mix", "tiny"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script, *load], capture_output=True, text=True, timeout=200, env=environment
    )
    assert done.returncode == 0, done.stderr
    *_, row = done.stdout.splitlines()
    server, rate, tokens, *_, errors = [cell.strip() for cell in row.strip("|").split("|")]
    assert (server, rate, errors) == ("process", "8", "0")
    assert int(tokens) > 0
