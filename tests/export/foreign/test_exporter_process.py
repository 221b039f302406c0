"""The exporter's process: its result comes back, its noise does not, and its end is always understood."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from genai.errors import ExportError, UnsupportedModelError
from genai.export.foreign.exporter_process import run_exporter

PROGRAM = """
import json, os, sys, warnings
from pathlib import Path
job = json.loads(Path(sys.argv[1]).read_text())
print("progress"); print("noise", file=sys.stderr); warnings.warn("loud")
"""


def run(tmp_path: Path, lines: str, **job: object) -> dict[str, object]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM + lines)
    folder = tmp_path / "job"
    folder.mkdir()
    return run_exporter(job, folder=folder, program=script)


def test_the_result_comes_back_without_the_noise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer = run(
        tmp_path,
        'Path(job["result"]).write_text(json.dumps({"sum": job["a"] + job["b"], "path": sys.path[0],'
        ' "offline": os.environ["HF_HUB_OFFLINE"]}))',
        a=1,
        b=2,
    )
    assert (answer["sum"], answer["offline"]) == (3, "1")
    assert answer["path"] != str(tmp_path)  # a file beside the program must not stand in for a module
    assert capfd.readouterr() == ("", "")


def test_a_reason_is_told_with_the_log_as_a_note(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"transformers' exporter cannot export it: it has no cache"
    ) as caught:
        run(tmp_path, 'Path(job["result"]).write_text(json.dumps({"error": "it has no cache"}))')
    assert "noise" in caught.value.__notes__[0]


def test_a_reason_of_several_lines_becomes_one(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"cannot export it: it has wings\n"):
        run(tmp_path, r'Path(job["result"]).write_text(json.dumps({"error": "it has\n  wings\n"}))')


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("raise RuntimeError('boom')", r"without a result \(status 1: RuntimeError: boom\)"),
        ("os.kill(os.getpid(), 9)", r"it was killed, perhaps for want of memory"),
        ("os._exit(3)", r"status 3: "),
        (r"print('\x1b[31mred\x1b[0m', flush=True); os._exit(3)", r"\(status 3: red\)"),
    ],
)
def test_a_program_that_dies(lines: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        run(tmp_path, lines)


def test_a_python_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ExportError, match=r"nowhere/python cannot be started for transformers' exporter: No"):
        run(tmp_path, "")


def test_an_interrupt_ends_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    started: list[subprocess.Popen[bytes]] = []
    wait = subprocess.Popen.wait

    def interrupted(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if process not in started:
            started.append(process)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "import time; time.sleep(600)")
    assert started[0].returncode == -9
