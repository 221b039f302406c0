"""The environment of Optimum's exporter: made once, after a yes, and never taken for whole when it is not."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from genai.errors import ExportError
from genai.export.foreign import optimum_environment
from genai.export.foreign.optimum_environment import OptimumEnvironment

# A Python that makes an environment of a copy of itself and writes down what it is asked to install.
FAKE_PYTHON = """#!{python}
import json, os, shutil, sys, time
from pathlib import Path
home, arguments = Path({home!r}), sys.argv[1:]
with (home / "calls.jsonl").open("a") as file:
    file.write(json.dumps(arguments) + chr(10))
if arguments[:2] == ["-m", "venv"]:
    (Path(arguments[2]) / "bin").mkdir(parents=True)
    shutil.copy(sys.argv[0], Path(arguments[2]) / "bin" / "python")
elif arguments[:2] == ["-m", "pip"]:
    time.sleep(0.2)
    if (home / "broken").exists():
        print("Looking in indexes"); print("ERROR: no such version", file=sys.stderr)
        sys.exit(1)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake Python is a script with a shebang")


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    path = tmp_path / "python"
    path.write_text(FAKE_PYTHON.format(python=sys.executable, home=str(tmp_path)))
    path.chmod(0o755)
    return path


def environment(fake: Path) -> OptimumEnvironment:
    return OptimumEnvironment(home=fake.parent / "envs", python=fake, requirements=("one==1", "two<3"))


def installs(fake: Path) -> list[list[str]]:
    calls = [json.loads(line) for line in (fake.parent / "calls.jsonl").read_text().splitlines()]
    return [call for call in calls if call[:2] == ["-m", "pip"]]


def test_it_is_made_once_after_a_yes(fake: Path) -> None:
    asked: list[str] = []
    told: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return True

    first = environment(fake).prepare(confirm=confirm, note=told.append)
    assert first == environment(fake).path / "bin" / "python"
    assert first.is_file()
    assert environment(fake).prepare() == first  # nobody is asked again
    assert len(asked) == 1
    assert str(environment(fake).path) in asked[0]
    assert told == [f"Installing Optimum's exporter in {environment(fake).path}; this takes some minutes"]
    assert [call[-2:] for call in installs(fake)] == [["one==1", "two<3"]]
    assert environment(fake).why_missing() is None


@pytest.mark.parametrize("answer", [None, False])
def test_nothing_is_installed_without_a_yes(answer: bool | None, fake: Path) -> None:
    confirm = None if answer is None else (lambda question: False)
    with pytest.raises(ExportError, match=r"pass --yes, or name a Python that has optimum-onnx with --optim"):
        environment(fake).prepare(confirm=confirm)
    assert sorted(path.name for path in fake.parent.iterdir()) == ["python"]


def test_one_that_was_not_finished_is_begun_again(fake: Path) -> None:
    (fake.parent / "broken").touch()
    with pytest.raises(ExportError, match=r"-m pip install .* status 1: ERROR: no such version"):
        environment(fake).prepare(confirm=lambda question: True)
    assert environment(fake).path.is_dir()
    assert environment(fake).why_missing() is not None
    (environment(fake).path / "left over").touch()
    (fake.parent / "broken").unlink()
    environment(fake).prepare(confirm=lambda question: True)
    assert environment(fake).why_missing() is None
    assert not (environment(fake).path / "left over").exists()


def test_two_at_once_make_it_once(fake: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(environment(fake).prepare(confirm=lambda question: True))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [environment(fake).path / "bin" / "python"] * 3
    assert len(installs(fake)) == 1


def test_a_python_of_the_users_own(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OptimumEnvironment(interpreter=Path(sys.executable), home=fake.parent / "envs")
    assert own.why_missing() is None
    monkeypatch.setattr(optimum_environment, "_CHECK", "import json")
    assert own.prepare() == Path(sys.executable)
    monkeypatch.setattr(optimum_environment, "_CHECK", "import no_such_module")
    with pytest.raises(ExportError, match=r"No module named 'no_such_module'"):
        own.prepare()
    nowhere = OptimumEnvironment(interpreter=Path("/nowhere/python"))
    assert nowhere.why_missing() == "there is no Python at /nowhere/python (--optimum-python)"
    with pytest.raises(ExportError, match="/nowhere/python cannot be started"):
        nowhere.prepare()


def test_a_folder_that_cannot_be_written(fake: Path) -> None:
    (fake.parent / "envs").write_text("a file")
    with pytest.raises(ExportError, match="set GENAI_HOME elsewhere"):
        environment(fake).prepare(confirm=lambda question: True)


def test_it_lies_under_genai_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENAI_HOME", str(tmp_path))
    assert OptimumEnvironment().path.parent == tmp_path / "optimum-env"


@pytest.mark.slow
def test_a_real_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """venv and pip themselves, with a package made here instead of gigabytes from the index."""
    wheel = tmp_path / "stub_exporter-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("stub_exporter.py", "VERSION = 1\n")
        info = "stub_exporter-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: stub-exporter\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setattr(optimum_environment, "_CHECK", "import stub_exporter")
    made = OptimumEnvironment(home=tmp_path / "envs", requirements=("--no-index", str(wheel)))
    python = made.prepare(confirm=lambda question: True)
    done = subprocess.run(
        [python, "-I", "-c", "import stub_exporter, sys; print(stub_exporter.VERSION, sys.prefix)"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.split() == ["1", str(made.path)]
