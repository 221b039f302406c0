"""A model folder without genai: plain ONNX Runtime, and onnxruntime-genai, give the tokens that genai gives."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genai import Generator
from tests.checkpoints import VOCAB_SIZE
from tests.deploy.conftest import EXAMPLES, Answer

SCRIPTS = [EXAMPLES / "plain_onnxruntime.py", EXAMPLES / "run_onnxruntime_genai.py"]
MODELS = [
    ("llama", "fp32"),
    ("llama", "int4"),
    ("phi3", "int8"),
    ("gemma3_text", "fp32"),
    ("lfm2", "fp32"),  # states of fixed size beside keys and values
    ("gpt_oss", "fp32"),
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_demo_model_answers_the_same(script: Path, demo_folder: Path, answers: list[Answer]) -> None:
    for answer in answers:
        done = subprocess.run(
            [sys.executable, str(script), str(demo_folder), answer.question],
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        assert done.stdout == answer.text + "\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_demo_model_gives_the_same_tokens(script: Path, demo_folder: Path, answers: list[Answer]) -> None:
    generate = runpy.run_path(str(script))["generate"]
    for answer in answers:
        found = generate(demo_folder, list(answer.prompt_ids), max_new_tokens=128)
        assert tuple(found[: len(answer.token_ids)]) == answer.token_ids


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_is_no_model_folder_is_said_in_one_line(script: Path, tmp_path: Path) -> None:
    for arguments, expected in (
        ([], "usage: "),
        ([tmp_path], "usage: "),
        ([tmp_path / "none", "Hello"], "has no genai_config.json"),
        ([tmp_path, "Hello"], "has no genai_config.json"),
    ):
        done = subprocess.run(
            [sys.executable, str(script), *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert expected in line


@pytest.mark.parametrize(("family", "precision"), MODELS)
def test_other_architectures_give_the_same_tokens(
    family: str, precision: str, model_folder: Callable[..., tuple[Path, Path]]
) -> None:
    """The contract of 40 lines holds for what genai exports, not for one model."""
    _, folder = model_folder(family, precision=precision)
    prompt = np.random.default_rng(1).integers(3, VOCAB_SIZE, 24).tolist()
    with Generator(folder) as generator:
        result = generator.generate(token_ids=prompt, max_new_tokens=24, do_sample=False)
    expected = list(result.token_ids[:-1] if result.finish_reason == "stop" else result.token_ids)
    assert runpy.run_path(str(SCRIPTS[0]))["generate"](folder, prompt, max_new_tokens=24) == expected
