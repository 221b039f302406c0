"""Node runs the page's decoder with onnxruntime-node, and gets the tokens that genai gets."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import genai.deploy
from genai import Generator
from genai.deploy import write_web_page
from genai.folder import ModelFolder
from tests.checkpoints import VOCAB_SIZE
from tests.deploy.conftest import EXAMPLES, Answer
from tests.deploy.packages import npm_packages
from tests.deploy.test_python_runtimes import MODELS

pytestmark = pytest.mark.deploy

DECODER = Path(genai.deploy.__file__).parent / "templates" / "web" / "decoder.js"


@pytest.fixture(scope="module")
def packages() -> Path:
    example = json.loads((EXAMPLES / "node" / "package.json").read_text(encoding="utf-8"))
    return npm_packages(*(f"{name}@{version}" for name, version in example["dependencies"].items()))


def run(*command: str | Path) -> str:
    done = subprocess.run(["node", *map(str, command)], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_answers_what_genai_answers(
    packages: Path, demo_folder: Path, answers: list[Answer], tmp_path: Path
) -> None:
    write_web_page(ModelFolder.load(demo_folder), tmp_path / "site")
    shutil.copytree(EXAMPLES / "node", tmp_path / "example")
    (tmp_path / "example" / "node_modules").symlink_to(packages)
    for answer in answers:
        found = run(tmp_path / "example" / "answer.mjs", tmp_path / "site", answer.question)
        assert found == answer.text + "\n"
    command = ["node", str(tmp_path / "example" / "answer.mjs"), str(tmp_path / "none"), "Hello"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("usage: ")


@pytest.mark.parametrize(("family", "precision"), [*MODELS, ("llama", "fp16")])
def test_other_architectures_give_the_same_tokens(
    family: str,
    precision: str,
    packages: Path,
    model_folder: Callable[..., tuple[Path, Path]],
    tmp_path: Path,
) -> None:
    _, path = model_folder(family, precision=precision)
    folder = ModelFolder.load(path)
    prompt = np.random.default_rng(1).integers(3, VOCAB_SIZE, 24).tolist()
    with Generator(path) as generator:
        result = generator.generate(token_ids=prompt, max_new_tokens=24, do_sample=False)
    expected = list(result.token_ids[:-1] if result.finish_reason == "stop" else result.token_ids)
    shutil.copyfile(DECODER, tmp_path / "decoder.mjs")
    arguments = [json.dumps(prompt), str(len(expected)), json.dumps(folder.eos_token_ids)]
    found = run(
        Path(__file__).parent / "tokens.mjs",
        packages,
        tmp_path / "decoder.mjs",
        folder.model_path,
        *arguments,
    )
    assert json.loads(found) == expected
