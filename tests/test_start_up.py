"""What a call imports and how much memory it takes, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What exports, downloads, draws or trains; none of it is needed by a model that is here.
NEVER = [
    *(
        "genai.export",
        "genai.benchmark",
        "genai.evaluation",
        "httpx",
        "httpx2",
        "huggingface_hub",
        "onnx_ir",
        "onnxscript",
        "optimum",
    ),
    *("prompt_toolkit", "rich", "safetensors", "torch", "tqdm", "transformers"),
]
RUNTIME = ["genai.runtime", "jinja2", "ml_dtypes", "numpy", "onnx", "onnxruntime", "tokenizers"]
PROGRAM = ["typer"]
MAX_DEMO_MB = 200
"""The peak of an answer of the demo model; 105 to 120 on the machines that it was measured on."""


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import genai", [*NEVER, *RUNTIME, *PROGRAM]),
        (
            "from genai.cli import run; run(['--help']); run(['chat', '--help'])",
            [*NEVER, *RUNTIME],
        ),
        ("from genai.cli import run; run(['chat', 'hi'])", NEVER),
        (
            "import genai.server as s; s.run_server = lambda *_: None; from genai.cli import run; run(['serve', '--port', '0'])",
            # FastAPI itself imports OpenTelemetry's interface, behind which nothing is
            [
                *("genai.cluster", "genai.server.traces", "opentelemetry.exporter", "opentelemetry.sdk"),
                *("ray", "torch", "transformers"),
            ],
        ),
        (
            "from genai import Generator; Generator('demo')",
            [*NEVER, *PROGRAM, "asyncio", "hashlib", "jinja2"],
        ),
    ],
)
def test_nothing_is_imported_that_the_call_does_not_need(code: str, unwanted: list[str]) -> None:
    script = f"import sys; {code}; print([name for name in {unwanted!r} if name in sys.modules])"
    assert _last_line(script) == "[]"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_demo_model_answers_in_little_memory() -> None:
    script = (
        "from pathlib import Path; from genai import Generator, Message\n"
        "Generator('demo').chat([Message('user', 'hello')])\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    assert int(_last_line(script)) / 1024 < MAX_DEMO_MB


def _last_line(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        cwd=Path(__file__).parents[1],
        check=True,
    )
    return done.stdout.splitlines()[-1]
