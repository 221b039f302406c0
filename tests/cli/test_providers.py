"""`genai providers`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genai.errors import ProviderError
from genai.export import export_model
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


def test_check_tells_what_runs_where(cli: Cli, model: Path) -> None:
    done = cli("providers", "--check", model)
    assert done.code == 0
    header, *rows = done.stdout.splitlines()
    assert header.split()[0] == "PROVIDER"
    (cpu,) = (row.split() for row in rows if row.startswith("cpu "))
    assert int(cpu[1]) > 10
    value = json.loads(cli("providers", "--check", model, "--json").stdout)
    nodes = value["providers"][-1]["nodes"]["CPUExecutionProvider"]
    assert nodes["GroupQueryAttention"] == 2


def test_check_says_that_what_a_folder_was_made_for_is_missing(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    export_model(checkpoint, tmp_path / "model", provider="directml")
    done = cli("providers", "--check", tmp_path / "model")
    assert done.code == 0
    assert done.stderr.startswith(
        f"{tmp_path / 'model'} was made for directml, which is not available here: "
    )


def test_check_of_no_folder(cli: Cli, tmp_path: Path) -> None:
    assert cli("providers", "--check", tmp_path / "none").code == 1


def test_a_library_that_is_not_there(cli: Cli, model: Path) -> None:
    for command in (("providers",), *runs_of(model)):
        assert "is not there" in cli(*command, "--provider-library", "/none.so").error


def runs_of(model: Path) -> list[tuple[object, ...]]:
    """One line of every command that runs a model, in which a provider can be chosen."""
    return [
        ("generate", "a", "--model", model, "--max-new-tokens", 1),
        ("chat", "a", "--model", model, "--max-new-tokens", 1),
        ("validate", model),
        ("evaluate", model, "--no-save"),
    ]


@pytest.mark.parametrize("place", range(4))
def test_every_run_has_the_same_choice(
    cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    command = runs_of(model)[place]
    done = cli(*command, "--provider", "cpu", "--device-id", 1)
    assert 'device_id must be 0 for provider "cpu", not 1' in done.error

    def report(*_: object, strict: bool) -> None:
        if strict:
            raise ProviderError("nodes are left to the CPU")

    monkeypatch.setattr("genai.runtime.decoder.report_placement", report)
    assert "nodes are left to the CPU" not in cli(*command).stdout
    done = cli(*command, "--provider", "CPU", "--strict")
    assert done.code == 1
    assert "nodes are left to the CPU" in done.stdout + done.stderr


def test_env_hides_secrets(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass@proxy:1")
    monkeypatch.setenv("HTTP_PROXY", "me:p@ss@proxy:2")
    for arguments in ((), ("--json",)):
        out = cli("env", *arguments).stdout
        assert "hf_secret" not in out
        assert "me:pass" not in out
        assert "ss@proxy" not in out
        assert "HF_TOKEN" in out
    value = json.loads(cli("env", "--json").stdout)
    assert value["packages"]["onnx"]
    assert value["onnxruntime"]
    assert value["memory_bytes"] is None or value["memory_bytes"] > 0
