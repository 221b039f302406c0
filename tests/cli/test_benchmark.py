"""`genai benchmark`: tables, JSON, wrong usage, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome
from tests.hub_server import HubServer

Cli = Callable[..., Outcome]
TINY = ["--prompt-tokens", "8,16", "--new-tokens", "4", "--batch", "1,2", "--repeats", "2", "--warmup", "0"]


def test_the_demo_model(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("benchmark", "demo", *TINY, "--past", "12", "--no-limits")
    assert done.code == 0
    machine, models, memory, speeds, prompt, step = done.stdout.split("\n\n")
    assert "CPUs, ONNX Runtime's choice of threads" in machine
    assert models.splitlines()[0].split()[:3] == ["MODEL", "PRECISION", "PROVIDER"]
    assert models.splitlines()[1].split()[0] == "demo"
    assert memory.startswith("MODEL  PEAK MEMORY LOADED")
    for row in (
        *("prompt of 8", "prompt of 16", "decoding after 8", "decoding after 16", "decoding after 12"),
        *("1 sequence", "2 sequences ("),
    ):
        assert row in speeds
    assert "demo, prompt of 15:" in prompt
    assert "demo, decoding step:" in step
    assert "MatMulNBits" in step
    assert all(line.startswith("no energy") for line in done.stderr.splitlines())


def test_two_models_as_json(cli: Cli, hub: HubServer, checkpoint: Path, model: Path) -> None:
    hub.add("owner/model", model)
    arguments = ["--compare", "owner/model", "--no-profile", "--num-threads", "1", "--json"]
    done = cli("benchmark", checkpoint, *TINY, *arguments)
    assert done.code == 0, done.stderr
    value = json.loads(done.stdout)
    assert [each["model"] for each in value["models"]] == [str(checkpoint), "owner/model"]
    assert [each["precision"] for each in value["models"]] == ["int4", "fp32"]
    assert value["machine"]["num_threads"] == 1
    assert value["machine"]["limits"]["read_bytes_per_second"] > 0
    assert value["settings"] == {
        "prompt_tokens": [8, 16],
        "past": [],
        "new_tokens": 4,
        "batch": [1, 2],
        "repeats": 2,
        "warmup": 0,
        "profile": False,
        "limits": True,
    }
    assert value["ratios"].keys() == {"prompt", "decode", "past", "batch"}
    assert value["versions"].keys() == {"genai", "onnxruntime"}
    for each in value["models"]:
        assert each.keys() == {
            *("model", "path", "precision", "provider", "num_bytes", "load", "memory", "prompts", "pasts"),
            *("batches", "host", "work", "profile", "num_threads", "limits"),
        }
        assert each["profile"] is None
        assert each["prompts"][0]["decode_share"] > 0
        assert each["prompts"][0].keys() == {
            *("prompt_tokens", "time_to_first_token_seconds", "prompt_tokens_per_second"),
            *("decode_tokens_per_second", "joules_per_token", "prompt_share", "decode_share"),
        }
        assert each["batches"][1]["tokens_per_second"].keys() == {"median", "spread", "samples"}
        assert each["work"]["weight_bytes"] > 0


def test_a_plot(cli: Cli, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "speed.svg"
    done = cli("benchmark", model, *TINY, "--no-limits", "--no-profile", "--plot", plot)
    assert done.code == 0, done.stderr
    assert "sequences at once" in plot.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["MODEL", "--prompt-tokens", "64;512"], 2, "--prompt-tokens must be whole numbers of at least 1"),
        (["MODEL", "--batch", "1,-4"], 2, "--batch must be whole numbers of at least 1"),
        (["MODEL", "--new-tokens", "1"], 2, "--new-tokens"),
        (
            ["MODEL", "--prompt-tokens", "512"],
            2,
            "512 tokens and 64 new ones do not fit the context of 512 tokens",
        ),
        (["MODEL", "--past", "500"], 2, "500 tokens and 64 new ones do not fit the context of 512 tokens"),
        (["MODEL", "--max-context", "100"], 2, "64 new ones do not fit the context of 100 tokens"),
        (["MODEL", "--plot", "speed.pdf"], 2, "ends in .png or .svg"),
        (["MODEL", "--provider", "cdua"], 2, "cuda"),
        (["MODEL", "--prompt-tokens", "0", "--batch", "0"], 2, "nothing to measure"),
        (["MODEL", "--compare", "nowhere"], 1, "nowhere"),
        (["nowhere"], 1, "nowhere"),
        ([], 2, "MODEL"),
    ],
)
def test_wrong_usage(cli: Cli, model: Path, arguments: list[str], code: int, expected: str) -> None:
    done = cli("benchmark", *(model if each == "MODEL" else each for each in arguments))
    assert done.code == code
    assert expected in done.error
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="POSIX signals, /proc")
def test_ctrl_c_ends_all_processes(model: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "genai", "benchmark", str(model), "--repeats", "100000", "--no-limits"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        deadline = time.monotonic() + 60
        while not (workers := children_of(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert workers
        time.sleep(1)
        workers += children_of(process.pid)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, output) == (130, b"")
    assert b"Traceback" not in errors
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
