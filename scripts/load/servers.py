"""The servers: how each is started, when it is ready, and what its requests have beside OpenAI's fields.

All decode greedily, go on behind an end of text, and get room for as many sequences of the load's greatest length as are
to run together; all else is as their makers leave it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["SERVERS", "Capacity", "Programs", "Running", "ServerError", "attach", "start"]

READY_SECONDS = 300.0


class ServerError(Exception):
    """A server cannot be started."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a server has room for.

    Args:
        sequences: That run together.
        tokens: Of each, prompt and answer.
        num_threads: That compute.
    """

    sequences: int
    tokens: int
    num_threads: int


@dataclass(frozen=True, slots=True)
class Programs:
    """What runs servers that are not genai.

    Args:
        llama_server: llama.cpp's program, if it is there.
        openvino_python: The interpreter of an environment with openvino-genai.
    """

    llama_server: str | None = None
    openvino_python: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A kind of server.

    Args:
        command: What starts it with a model, on a port.
        ready: The path that answers with 200 once it takes requests.
        body: Fields of its requests, beside those of all.
    """

    command: Callable[[str | Path, int, Capacity, Programs], Sequence[str]]
    ready: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that takes requests.

    Args:
        url: Where.
        body: What requests have beside prompt and length.
        pid: Its process; `None` where somebody else has started it.
    """

    url: str
    body: Mapping[str, Any]
    pid: int | None = None


def _genai(model: str | Path, port: int, capacity: Capacity, _: Programs) -> list[str]:
    return [
        *(sys.executable, "-m", "genai", "serve", f"model={model}", "--port", str(port)),
        *("--max-batch", str(capacity.sequences), "--max-context", str(capacity.tokens)),
        *("--num-threads", str(capacity.num_threads), "--max-requests", "100000"),
    ]


def _llama_cpp(model: str | Path, port: int, capacity: Capacity, programs: Programs) -> list[str]:
    if programs.llama_server is None or shutil.which(programs.llama_server) is None:
        raise ServerError("llama.cpp needs its server: --llama-server PATH")
    context = -(-capacity.tokens // 256) * 256  # llama.cpp takes multiples
    return [
        *(programs.llama_server, "--model", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(capacity.sequences), "--ctx-size", str(capacity.sequences * context)),
        *("--threads", str(capacity.num_threads), "--threads-batch", str(capacity.num_threads)),
        *("--cont-batching", "--no-webui"),
    ]


def _openvino(model: str | Path, port: int, capacity: Capacity, programs: Programs) -> list[str]:
    if programs.openvino_python is None:
        raise ServerError("openvino needs the interpreter of an environment with it: --openvino-python PATH")
    script = Path(__file__).parent / "openvino_server.py"
    return [
        *(programs.openvino_python, str(script), str(model), "--port", str(port)),
        *("--sequences", str(capacity.sequences), "--threads", str(capacity.num_threads)),
    ]


SERVERS: Mapping[str, Server] = {
    "genai": Server(_genai, "/health/ready", {"do_sample": False, "ignore_eos": True, "speculative": "off"}),
    "llama.cpp": Server(_llama_cpp, "/health", {"temperature": 0, "ignore_eos": True}),
    "openvino": Server(_openvino, "/health", {}),
}
"""By the names of engines; none guesses ahead, since random models repeat themselves as no other does."""


@contextlib.contextmanager
def start(
    engine: str, model: str | Path, *, capacity: Capacity, programs: Programs, log: Path
) -> Iterator[Running]:
    """Run a server with a model until the block ends; it begins once the server takes requests.

    Args:
        engine: One of `SERVERS`.
        model: What it loads.
        capacity: What it has room for.
        programs: What runs the others.
        log: Where its output goes.

    Raises:
        ServerError: Its program is not there, or it ended instead.
    """
    server = SERVERS[engine]
    port = _free_port()
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    if engine == "openvino":
        environment.pop("PYTHONPATH", None)  # it is about this interpreter's packages
    command = server.command(model, port, capacity, programs)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url + server.ready, log)
        yield Running(url, {"model": _first_model(url), **server.body}, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def attach(url: str) -> Running:
    """Return a server that somebody else has started; it takes the fields that most servers have for fixed lengths.

    Raises:
        ServerError: Nothing answers there.
    """
    try:
        url = url.rstrip("/")
        return Running(url, {"model": _first_model(url), "temperature": 0, "ignore_eos": True})
    except OSError as error:
        raise ServerError(f"{url}: {error}") from error


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=10):
            return
        time.sleep(0.1)
    lines = log.read_text(errors="replace").splitlines()
    raise ServerError(f"the server has not begun ({log}): {' / '.join(lines[-3:])}")


def _first_model(url: str) -> str:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as answer:
        return str(json.load(answer)["data"][0]["id"])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
