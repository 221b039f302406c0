"""Replicas that come and go: with load, with the nodes, and with the command."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.cluster.conftest import Served, served
from tests.server.conftest import until

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

CHAT = "/v1/chat/completions"


def body(question: str, **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"messages": messages, "max_tokens": 400, "ignore_eos": True, **options}


@contextlib.contextmanager
def under_load(served: Served, *, num_clients: int) -> Iterator[list[int | str]]:
    """Have clients ask one question after another until the block ends; give what they got, to be looked at then."""
    got: list[int | str] = []
    is_over = threading.Event()

    def ask(number: int) -> None:
        with served.client as client:
            while not is_over.is_set():
                try:
                    got.append(client.post(CHAT, json=body(f"{number}")).status_code)
                except httpx.HTTPError as error:
                    got.append(repr(error))

    with ThreadPoolExecutor(max_workers=num_clients) as pool:
        clients = [pool.submit(ask, number) for number in range(num_clients)]
        try:
            yield got
        finally:
            is_over.set()
            for each in clients:
                each.result()


def names_of_replicas(served: Served) -> set[str]:
    return set(served.counted("genai_prompt_tokens_total"))


def test_a_node_that_dies_under_load_loses_no_request(cluster: Cluster) -> None:
    third = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    with served(min_replicas=3, max_replicas=3) as trio:
        with under_load(trio, num_clients=9) as got:
            until(lambda: len(names_of_replicas(trio)) == 3, seconds=120)
            cluster.remove_node(third, allow_graceful=False)
            num_before = len(got)
            until(lambda: len(got) > num_before + 30, seconds=240)
        assert set(got) == {200}
        with trio.client as client:
            assert client.get("/health/ready").status_code == 200


def test_replicas_follow_the_load(cluster: Cluster) -> None:
    scale = {"min_replicas": 1, "max_replicas": 2, "upscale_delay_seconds": 1, "downscale_delay_seconds": 1}
    with served(**scale) as few:
        with under_load(few, num_clients=12) as got:
            until(lambda: len(names_of_replicas(few)) == 2, seconds=200)
        until(lambda: len(names_of_replicas(few)) == 1, seconds=200)
        assert set(got) == {200}


@pytest.fixture
def command() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`genai serve --ray` as a process, and its address."""
    arguments = [sys.executable, "-m", "genai", "serve", "--ray", "--replicas", "2", "--port", "0"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://\S+(?=/v1)", line):
                break
        else:
            raise AssertionError(f"it has not begun: {said}")
        try:
            yield process, found[0]
        finally:
            process.kill()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_command(
    command: tuple[subprocess.Popen[str], str], sent: signal.Signals
) -> None:
    process, url = command
    assert httpx.get(f"{url}/health/ready", timeout=60).json() == {"status": "ok"}
    asked = body("Go on.", stream=True)
    with httpx.stream("POST", f"{url}{CHAT}", json=asked, timeout=60) as answer:
        lines = filter(None, answer.iter_lines())
        next(lines)
        process.send_signal(sent)
        *_, last, end = lines
    assert end == "data: [DONE]"
    assert json.loads(last.removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert process.wait(120) == 0


def test_a_model_that_is_not_there_is_told() -> None:
    arguments = [sys.executable, "-m", "genai", "serve", "no/such-model", "--offline", "--ray", "--port", "0"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "no/such-model" in done.stderr
