"""The demo model that ships in the package: small, whole, and right about what it is asked."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import genai
from genai import Generator, Message
from genai.folder import MANIFEST_FILE, ModelFolder, sha256_of
from scripts.demo.corpus import CORPUS_FOLDER, load_corpus, load_questions
from scripts.demo.evaluation import evaluate

FOLDER = Path(genai.__file__).parent / "demo_model"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def demo() -> Iterator[Generator]:
    with Generator("demo", offline=True) as generator:
        yield generator


def test_it_is_a_small_ordinary_model_folder() -> None:
    manifest = ModelFolder.load(FOLDER).manifest
    assert manifest is not None
    assert manifest.architecture in ("LlamaForCausalLM", "Qwen2ForCausalLM")
    assert manifest.precision in ("int4", "int8")
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 5_000_000
    assert {name: sha256_of(FOLDER / name) for name in manifest.files} == manifest.files
    assert {path.name for path in FOLDER.iterdir()} == {*manifest.files, MANIFEST_FILE, "README.md"}


def test_it_answers_questions_that_it_was_never_trained_on(demo: Generator) -> None:
    intents = load_corpus().intents
    questions = load_questions(CORPUS_FOLDER / "heldout", intents=intents)
    score = evaluate(lambda q: demo.chat([Message("user", q)]).text, questions, intents=intents)
    assert score.num_questions > 200
    assert score.accuracy >= 0.9
    (reported,) = re.findall(r"\*\*([\d.]+)%\*\* right", (FOLDER / "README.md").read_text())
    assert float(reported) == pytest.approx(100 * score.accuracy, abs=2)  # kernels round a little differently


def test_it_answers_within_a_conversation(demo: Generator) -> None:
    messages = [Message("user", "hello")]
    first = demo.chat(messages)
    messages += [Message("assistant", first.text), Message("user", "what is a kv cache?")]
    second = demo.chat(messages)
    assert "cache" in second.text
    assert second.finish_reason == "stop"
    assert second.stats.cached_prompt_tokens > 0


@pytest.mark.slow
def test_the_training_script_runs_end_to_end(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "train_demo.py")]
    subprocess.run([*script, "--output", str(tmp_path / "checkpoint"), "--quick"], check=True, timeout=1200)
    with Generator(tmp_path / "checkpoint", precision="int8") as generator:
        assert generator.chat([Message("user", "hello")], max_new_tokens=5).token_ids
