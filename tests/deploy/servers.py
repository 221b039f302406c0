"""Servers in processes of their own, and what they answer."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["free_port", "get", "post", "running"]

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], ready: str, *, log: Path, cwd: Path = ROOT, environment: Mapping[str, str]
) -> Iterator[None]:
    """Run a server until the block ends; the block begins once the address `ready` answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                get(ready)
                break
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            time.sleep(0.2)
        else:
            raise AssertionError(log.read_text(errors="replace")[-3000:])
        yield
    finally:
        process.terminate()
        process.wait(30)


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return str(answer.read().decode())


def post(address: str, body: Any) -> str:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return str(answer.read().decode())
