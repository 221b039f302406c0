"""The documented commands of docs/serving.md, as they stand there."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.clients.documented import ADDRESS, blocks
from tests.server.conftest import Running


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_for_a_shell(server: Running, environment: dict[str, str]) -> None:
    for command in blocks("curl "):
        done = subprocess.run(
            [
                "sh",
                "-ec",
                command.replace("curl ", "curl -sS --fail-with-body ").replace(ADDRESS, server.url),
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [line for line in done.stdout.splitlines() if line]
        assert lines[-1] == "data: [DONE]"
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")


def test_the_example_for_python(server: Running) -> None:
    (example,) = blocks("from openai")
    names: dict[str, object] = {}
    exec(example.replace(ADDRESS, server.url), names)
    assert names["answer"].choices[0].message.content  # type: ignore[attr-defined]
    names["client"].close()  # type: ignore[attr-defined]
