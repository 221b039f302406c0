"""`--ray` on the command line: what it needs, and what needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from genai.cli.app import run_app
from genai.cli.ray_options import RayFlags
from genai.errors import OptionError


@pytest.mark.parametrize(
    "options",
    [["--replicas", "2"], ["--ray-address", "auto"], ["--replica-cpus", "1"], ["--replica-gpus", "0"]],
)
@pytest.mark.parametrize("command", [["serve"], ["batch", "in.jsonl", "-o", "out.jsonl"]])
def test_what_needs_ray_is_refused_without_it(
    command: list[str], options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app([*command, *options]) == 2
    assert f"{options[0]} is for replicas on Ray: give --ray, too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"), [(None, (1, 1)), ("3", (3, 3)), ("1:4", (1, 4)), ("2:2", (2, 2))]
)
def test_numbers_of_replicas(given: str | None, meant: tuple[int, int]) -> None:
    assert RayFlags(ray=True, replicas=given).num_replicas == meant


@pytest.mark.parametrize("given", ["", "two", "0", "4:1", "0:2", "1:", ":2", "-1", "1:2:3"])
def test_what_is_no_number_of_replicas(given: str) -> None:
    with pytest.raises(OptionError, match="--replicas"):
        assert not RayFlags(ray=True, replicas=given).num_replicas


def test_a_batch_has_a_number_and_no_devices_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["batch", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--ray"]
    assert run_app([*command, "--replicas", "1:2"]) == 2
    assert "give one number" in capsys.readouterr().err
    assert run_app([*command, "--device", "0"]) == 2
    assert "--replica-gpus" in capsys.readouterr().err


def test_a_missing_extra_is_named() -> None:
    hidden = "import sys; sys.modules['ray'] = None; from genai.cli import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", hidden, "serve", "--ray", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert 'pip install -e ".[ray]"' in done.stderr
