"""The virtual environment of Optimum's exporter, which needs an older transformers than everybody else.

It lies under GENAI_HOME, is made once, after a yes, and is whole exactly when it has its mark: a creation that was
interrupted leaves none and is begun again. It knows pip and venv, and nothing of models.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from genai.errors import ExportError
from genai.hub.store import genai_home

__all__ = ["OPTIMUM_FAMILIES", "OPTIMUM_REQUIREMENTS", "OptimumEnvironment"]

OPTIMUM_REQUIREMENTS = (
    "optimum-onnx[onnxruntime]==0.1.0",
    "transformers>=4.57,<4.58",
    "torch>=2.6,<2.14",
)
"""What is installed: the last Optimum with an ONNX exporter, and what it works with."""

OPTIMUM_FAMILIES = frozenset(
    {
        *("arcee", "bloom", "codegen", "cohere", "deepseek_v3", "falcon", "gemma", "gemma2", "gemma3"),
        *("gemma3_text", "glm", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss", "gptj", "granite"),
        *(
            "helium",
            "internlm2",
            "llama",
            "mistral",
            "mpt",
            "nemotron",
            "olmo",
            "olmo2",
            "opt",
            "phi",
            "phi3",
        ),
        *("qwen2", "qwen3", "qwen3_moe", "smollm3", "stablelm"),
    }
)
"""The model_type of every decoder that this Optimum has an ONNX export for."""

_NAME = f"optimum-onnx-0.1.0-py{sys.version_info.major}.{sys.version_info.minor}"
_MARK = "whole"
_SHOWN_LINES = 8
_CHECK = "import onnxruntime, optimum.exporters.onnx"
_QUESTION = (
    "Optimum's exporter needs a virtual environment of its own with PyTorch and transformers 4.57 (a download of some "
    "gigabytes, once). Make it in {path}?"
)


@dataclass(frozen=True, slots=True)
class OptimumEnvironment:
    """Where Optimum's exporter is or would be installed.

    Args:
        interpreter: A Python that has it, if the user named one; nothing is installed then.
        home: The folder of the environments; by default one under GENAI_HOME.
        python: The Python that makes the environment.
        requirements: What pip installs.
    """

    interpreter: Path | None = None
    home: Path | None = None
    python: Path = Path(sys.executable)
    requirements: Sequence[str] = OPTIMUM_REQUIREMENTS

    @property
    def path(self) -> Path:
        """The folder of the environment."""
        return (self.home or genai_home() / "optimum-env") / _NAME

    def why_not(self, model_type: str) -> str | None:
        """Say why the exporter cannot take a type of model, wherever it is installed; `None` if it may."""
        if self.interpreter is None and model_type not in OPTIMUM_FAMILIES:
            return f'optimum-onnx 0.1.0 has no decoder of the type "{model_type}"'
        return None

    def why_missing(self) -> str | None:
        """Say why the exporter cannot run now and what to do; `None` if it can, as far as one sees from outside."""
        if self.interpreter is not None:
            is_there = shutil.which(self.interpreter) is not None
            return None if is_there else f"there is no Python at {self.interpreter} (--optimum-python)"
        if self._is_whole():
            return None
        return (
            "its own environment is not made yet; agree to it on a terminal, pass --yes, or name a Python that has "
            "optimum-onnx with --optimum-python"
        )

    def prepare(
        self, *, confirm: Callable[[str], bool] | None = None, note: Callable[[str], None] | None = None
    ) -> Path:
        """Return a Python that can run Optimum's exporter, after making its environment if there is none.

        Args:
            confirm: Asked before anything is installed; without it nothing is.
            note: Told what takes long.

        Raises:
            ExportError: There is none and none may be made, or making it failed.
        """
        if self.interpreter is not None:
            self._check(self.interpreter)
            return self.interpreter
        if not self._is_whole():
            if confirm is None or not confirm(_QUESTION.format(path=self.path)):
                raise ExportError(f"Optimum's exporter cannot run: {self.why_missing()}")
            self._make(note)
        return self._own_interpreter()

    def _is_whole(self) -> bool:
        return (self.path / _MARK).is_file()

    def _own_interpreter(self) -> Path:
        return self.path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def _make(self, note: Callable[[str], None] | None) -> None:
        from filelock import FileLock

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.parent / f"{_NAME}.lock"):
                if self._is_whole():  # somebody else was quicker
                    return
                shutil.rmtree(self.path, ignore_errors=True)
                if note is not None:
                    note(f"Installing Optimum's exporter in {self.path}; this takes some minutes")
                self._install()
        except OSError as error:
            raise ExportError(
                f"cannot write {self.path}: {error.strerror}; set GENAI_HOME elsewhere"
            ) from error

    def _install(self) -> None:
        own = self._own_interpreter()
        self._run(self.python, "-m", "venv", str(self.path))
        pip = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet")
        self._run(own, *pip, *self.requirements)
        self._check(own)
        (self.path / _MARK).write_text("\n".join(self.requirements) + "\n", encoding="utf-8")

    def _check(self, interpreter: Path) -> None:
        self._run(interpreter, "-c", _CHECK)

    def _run(self, program: Path, *arguments: str) -> None:
        command = [str(program), *arguments]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise ExportError(f"{program} cannot be started: {error.strerror}") from error
        if done.returncode:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            failure = ExportError(
                f"setting up Optimum's exporter failed: {' '.join(command[:4])} ... ended with status "
                f"{done.returncode}: {said[-1].strip() if said else 'it said nothing'}"
            )
            failure.add_note("\n".join(said[-_SHOWN_LINES:]))
            raise failure
