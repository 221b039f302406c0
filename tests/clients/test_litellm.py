"""LiteLLM, as a program of its own: a completion, a stream, a call of a tool, vectors."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import QUESTION, WEATHER
from tests.deploy.packages import python_environment
from tests.server.conftest import Running

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

PROGRAM = """\
import json, sys
import litellm

asked = json.loads(sys.argv[1])
where = {"api_base": asked["url"], "api_key": "none"}
chat = {"model": "openai/phi", "messages": [{"role": "user", "content": asked["question"]}], **where}
whole = litellm.completion(**chat, temperature=0)
stream = litellm.completion(**chat, temperature=0, stream=True)
called = litellm.completion(
    **chat,
    tools=[{"type": "function", "function": asked["tool"]}],
    tool_choice={"type": "function", "function": {"name": asked["tool"]["name"]}},
)
vectors = litellm.embedding(model="openai/phi", input=["A graph", "A cache"], **where)
call = called.choices[0].message.tool_calls[0].function
print(json.dumps({
    "whole": whole.choices[0].message.content,
    "tokens": whole.usage.completion_tokens,
    "stream": "".join(chunk.choices[0].delta.content or "" for chunk in stream),
    "call": [call.name, json.loads(call.arguments)],
    "lengths": [len(each["embedding"]) for each in vectors.data],
}))
"""


def test_litellm(server: Running, answer: str, environment: dict[str, str], tmp_path: Path) -> None:
    python = python_environment("litellm==1.110.2")
    asked = {"url": f"{server.url}/v1", "question": QUESTION, "tool": WEATHER}
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    done = subprocess.run(
        [str(python), str(program), json.dumps(asked)],
        env={**environment, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["whole"] == found["stream"] == answer
    assert found["tokens"] > 10
    name, arguments = found["call"]
    assert name == "weather"
    assert arguments["city"] in ("Bern", "Oslo")
    first, second = found["lengths"]
    assert first == second > 0
