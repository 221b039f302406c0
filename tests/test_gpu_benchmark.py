"""The benchmark of accelerators on the CPU: every row is there, whatever became of the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu_benchmark.py"


def measured(path: Path, *options: str) -> list[dict[str, Any]]:
    arguments = ["--provider", "cpu", "--families", "llama", "gpt2", "--shapes", "tiny", "--batches", "1"]
    command = [sys.executable, str(SCRIPT), *arguments, "--contexts", "16", *options, "--json", str(path)]
    subprocess.run(command, capture_output=True, check=True)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_failure_is_one_row(tmp_path: Path) -> None:
    rows = measured(tmp_path / "rows.json", "--forms", "bf17", "fp32")
    first, llama, gpt2, bad, reference, good = rows
    assert first["provider"] == "cpu"
    for row in (llama, gpt2, bad):
        assert "OptionError: precision must be one of" in row["failed"]
    assert good["folder"] == "tiny-fp32"
    assert good["decode_tokens_per_second"] > 0
    assert "skipped" in reference or "decode_tokens_per_second" in reference


def test_what_there_is_no_time_for_is_named(tmp_path: Path) -> None:
    rows = measured(tmp_path / "rows.json", "--forms", "fp32", "--seconds", "0")
    assert [row.get("skipped") for row in rows if "family" in row or "folder" in row] == [
        "no time is left"
    ] * 3
