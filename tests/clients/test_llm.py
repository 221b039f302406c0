"""The command line `llm`, told of the server as the documentation says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import QUESTION
from tests.clients.documented import ADDRESS, blocks
from tests.server.conftest import Running

TEXTS = """
- model_id: local-text
  model_name: phi
  api_base: "http://127.0.0.1:8000/v1"
  completion: true
"""


@pytest.fixture
def user(server: Running, environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has configured the server."""
    (documented,) = blocks("- model_id: ")
    models = (documented + TEXTS).replace(ADDRESS, server.url)
    (tmp_path / "extra-openai-models.yaml").write_text(models, "utf-8")
    return {**environment, "LLM_USER_PATH": str(tmp_path)}


def llm(*arguments: str, user: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env=user,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_prompt_streamed_and_more_in_its_conversation_whole(user: dict[str, str], answer: str) -> None:
    assert llm("-m", "local", "-o", "temperature", "0", QUESTION, user=user) == f"{answer}\n"
    assert llm("-c", "--no-stream", "-o", "max_tokens", "8", "And a graph?", user=user).strip()
    (first, second) = json.loads(llm("logs", "--json", user=user))
    assert first["conversation_id"] == second["conversation_id"]


def test_a_text(user: dict[str, str]) -> None:
    assert llm("-m", "local-text", "-o", "max_tokens", "8", "The graph", user=user).strip()


def test_a_form(user: dict[str, str]) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    found = json.loads(llm("-m", "local", "--schema", json.dumps(schema), "Is it well?", user=user))
    assert found in ({"ok": True}, {"ok": False})
