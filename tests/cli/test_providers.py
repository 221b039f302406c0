"""`genai providers`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]


def test_table(cli: Cli) -> None:
    done = cli("providers")
    assert (done.code, done.stderr) == (0, "")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "yes" in rows["cpu"]
    assert set(rows) >= {"PROVIDER", "cuda", "directml", "cpu"}


def test_json(cli: Cli) -> None:
    value = json.loads(cli("providers", "--json").stdout)
    by_name = {provider["name"]: provider for provider in value["providers"]}
    assert by_name["cpu"]["available"]
    assert by_name[value["auto"]]["available"]
    for provider in value["providers"]:
        assert provider["reason"]


def test_without_onnxruntime(environment: dict[str, str]) -> None:
    script = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from genai.cli import run; sys.exit(run(['providers']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("genai: error: ONNX Runtime is not installed.")
    assert "pip install onnxruntime" in done.stderr
    assert len(done.stderr.splitlines()) == 1
