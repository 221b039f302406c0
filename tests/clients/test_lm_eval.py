"""lm-eval's clients for OpenAI-compatible servers: ten likelihoods and ten answers of tasks made here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import genai
from genai import Generator
from tests.deploy.packages import python_environment
from tests.server.conftest import Running

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

TOKENIZER = Path(genai.__file__).parent / "demo_model"
COMMON = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {items}
test_split: test
doc_to_text: "{{{{question}}}}"
metadata:
  version: 1.0
"""
CHOICE = """\
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: 0
metric_list:
  - metric: acc
"""
TEXT = """\
output_type: generate_until
doc_to_target: "{{answer}}"
generation_kwargs:
  until: ["\\n\\n"]
  max_gen_toks: 40
metric_list:
  - metric: exact_match
"""
QUESTIONS = [
    f"{beginning} {thing}?"
    for beginning in ("What is", "Why use")
    for thing in ("ONNX", "a KV cache", "int4")
]
QUESTIONS += ["Hello.", "How do I export a model?", "What is genai?", "What does the engine do?"]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with a task that asks which of two continuations is likelier, and one that asks for text."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    with Generator("demo") as generator:
        answers = [generator.generate(each, max_new_tokens=40, do_sample=False).text for each in QUESTIONS]
        chats = [
            generator.chat([{"role": "user", "content": each}], max_new_tokens=40, do_sample=False).text
            for each in QUESTIONS
        ]
    for name, form, targets in (
        ("demo_choice", CHOICE, answers),
        ("demo_text", TEXT, answers),
        ("demo_chat", TEXT, chats),
    ):
        items = folder / f"{name}.jsonl"
        items.write_text(
            "".join(
                json.dumps(
                    {
                        "question": question,
                        "answer": target.split("\n\n")[0],
                        "choices": [target[:20], " zebra zebra zebra"],
                    }
                )
                + "\n"
                for question, target in zip(QUESTIONS, targets, strict=True)
            ),
            "utf-8",
        )
        (folder / f"{name}.yaml").write_text(COMMON.format(name=name, items=items) + form, "utf-8")
    return folder


def evaluate(
    server: Running, tasks: Path, environment: dict[str, str], *, model: str, path: str, names: str
) -> dict[str, dict[str, float]]:
    """Run lm-eval and return the scores of tasks."""
    python = python_environment("lm_eval[api]==0.4.13")
    arguments = f"model=phi,base_url={server.url}{path},num_concurrent=2,max_retries=1,tokenizer={TOKENIZER}"
    arguments += ",tokenizer_backend=huggingface"
    command = [str(python), "-m", "lm_eval", "run", "--model", model, "--model_args", arguments]
    command += [
        "--tasks",
        *names.split(","),
        "--include_path",
        str(tasks),
        "--output_path",
        str(tasks / "out.json"),
    ]
    if "chat" in model:
        command.append("--apply_chat_template")
    cache = {"HF_DATASETS_CACHE": str(tasks / "cache"), "HF_HOME": str(tasks / "home")}
    done = subprocess.run(command, env={**environment, **cache}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = tasks.rglob("out*.json")
    results: dict[str, dict[str, float]] = json.loads(found.read_text("utf-8"))["results"]
    return results


def test_likelihoods_and_answers_of_completions(
    server: Running, tasks: Path, environment: dict[str, str]
) -> None:
    results = evaluate(
        server,
        tasks,
        environment,
        model="local-completions",
        path="/v1/completions",
        names="demo_choice,demo_text",
    )
    assert results["demo_choice"]["acc,none"] == 1  # what the model says is likelier than what it does not
    assert results["demo_text"]["exact_match,none"] == 1


def test_answers_of_chats(server: Running, tasks: Path, environment: dict[str, str]) -> None:
    results = evaluate(
        server,
        tasks,
        environment,
        model="local-chat-completions",
        path="/v1/chat/completions",
        names="demo_chat",
    )
    assert results["demo_chat"]["exact_match,none"] == 1
