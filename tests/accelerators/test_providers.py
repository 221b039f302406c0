"""What a person is told of CUDA's provider where its libraries are there, and where they are missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.cuda_stub


def told_of_cuda(environment: dict[str, str]) -> dict[str, Any]:
    """Return what `genai providers --json` says of CUDA; nothing else may be on the screen."""
    done = subprocess.run(
        [sys.executable, "-m", "genai", "providers", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    found = json.loads(line)["providers"]
    return next(provider for provider in found if provider["name"] == "cuda")


def test_it_is_available_over_the_stand_ins() -> None:
    cuda = told_of_cuda(dict(os.environ))
    assert cuda["available"], cuda["reason"]
    assert cuda["package"] == "onnxruntime-gpu"


def test_missing_libraries_are_named_without_a_banner() -> None:
    without = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    cuda = told_of_cuda(without)
    assert not cuda["available"]
    assert "libcublas" in cuda["reason"]
    assert 'pip install "onnxruntime-gpu[cuda,cudnn]"' in cuda["repair"]
