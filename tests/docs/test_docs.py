"""Every example of the documentation, and every script in examples/, runs as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genai.cli.chat.commands import COMMANDS
from tests.adapters import make_adapter
from tests.checkpoints import make_checkpoint
from tests.hub_server import serve

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment whose hub is a loopback server with a random checkpoint in Phi-4-mini's place."""
    home = tmp_path_factory.mktemp("home")
    checkpoint = make_checkpoint("phi3", home / "phi3")
    with serve() as server:
        server.add("microsoft/Phi-4-mini-instruct", checkpoint)
        yield {**os.environ, **server.environment(home), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run(command: list[str], cwd: Path, environment: dict[str, str], stdin: str = "") -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_a_page_run(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    if page.name == "adapters.md":
        for seed, name in enumerate(("sql-lora", "poems-lora")):
            make_adapter(checkpoint, tmp_path / name, seed=seed)
    for code in [*blocks(page, "bash")]:
        for line in code.strip().splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["genai"]:  # the README's two install commands are run by .ci/run
                out = run([sys.executable, "-m", "genai", *words[1:]], tmp_path, environment, "Hello\n")
                assert out.strip(), line
            else:
                assert page.name == "README.md", line
    if code := "\n".join(blocks(page, "python")):
        assert run([sys.executable, "-c", code], tmp_path, environment).strip()


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.name)
def test_example_scripts_run(script: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 40
    arguments = []
    if script.name == "export_and_run.py":
        arguments = [str(make_checkpoint("llama", tmp_path / "checkpoint")), str(tmp_path / "model")]
    assert run([sys.executable, str(script), *arguments], tmp_path, environment, "Hello\n\n").strip()


def test_every_page_is_linked_from_the_readme() -> None:
    links = "".join(page.read_text(encoding="utf-8") for page in (PAGES[0], ROOT / "docs" / "deploy.md"))
    for page in PAGES[1:]:
        assert f"{page.parent.name}/{page.name}" in links


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_command_line_page_names_every_command() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for name in [
        *COMMANDS,
        "genai chat",
        "genai generate",
        "genai serve",
        "genai export",
        "genai validate",
        "genai evaluate",
        "genai benchmark",
        "genai models",
        "genai providers",
        "genai env",
    ]:
        assert f"`{name}" in page, name


def test_all_public_names_are_there_and_documented() -> None:
    import genai

    for name in set(genai.__all__) - {"__version__"}:
        assert getattr(genai, name).__doc__, name
    assert genai.__all__ == sorted(genai.__all__)
