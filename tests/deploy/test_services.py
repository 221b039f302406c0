"""The examples for BentoML and Azure ML, run by their own servers, answer what genai answers."""

from __future__ import annotations

import json
import shutil
import urllib.error
from pathlib import Path

import pytest

from tests.deploy.conftest import EXAMPLES, Answer
from tests.deploy.packages import python_environment
from tests.deploy.servers import ROOT, free_port, post, running

pytestmark = pytest.mark.deploy


def test_bentoml(answers: list[Answer], demo_folder: Path, tmp_path: Path) -> None:
    python = python_environment("bentoml==1.4.40")
    port = free_port()
    command = [str(python), "-m", "bentoml", "serve", "service:Answers", "--host", "127.0.0.1"]
    environment = {
        "PYTHONPATH": str(ROOT),
        "GENAI_MODEL": str(demo_folder),
        "BENTOML_HOME": str(tmp_path / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    address = f"http://127.0.0.1:{port}"
    with running(
        [*command, "--port", str(port)],
        f"{address}/readyz",
        log=tmp_path / "log",
        cwd=EXAMPLES / "bentoml",
        environment=environment,
    ):
        for answer in answers:
            assert post(f"{address}/chat", {"question": answer.question}) == answer.text
            assert post(f"{address}/stream", {"question": answer.question}) == answer.text


def test_azure_ml(answers: list[Answer], demo_folder: Path, tmp_path: Path) -> None:
    server = python_environment("azureml-inference-server-http==1.5.1").parent / "azmlinfsrv"
    port = free_port()
    model_dir = tmp_path / "mounted"
    shutil.copytree(demo_folder, model_dir / "model" / "1")
    command = [str(server), "--entry_script", str(EXAMPLES / "azure_ml" / "score.py")]
    address = f"http://127.0.0.1:{port}"
    with running(
        [*command, "--model_dir", str(model_dir), "--port", str(port), "--health_port", str(free_port())],
        address,
        log=tmp_path / "log",
        cwd=tmp_path,
        environment={"PYTHONPATH": str(ROOT)},
    ):
        for answer in answers:
            asked = {"messages": [{"role": "user", "content": answer.question}], "max_new_tokens": 128}
            found = json.loads(post(f"{address}/score", asked))
            assert found["text"] == answer.text
            assert found["finish_reason"] == "stop"
        wrong = [{"messages": [{"role": "user", "content": "hello"}], "temperature": -1}, {}, []]
        for body, word in zip(wrong, ("temperature", "messages", "list"), strict=True):
            with pytest.raises(urllib.error.HTTPError) as failure:
                post(f"{address}/score", body)
            assert failure.value.code == 400
            assert word in json.loads(failure.value.read())["error"]
            failure.value.close()
