"""The application by its import path, behind Ray's own HTTP proxy: the same answers, keys and streams."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from genai.errors import OptionError
from tests.server.conftest import until

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
CHAT = "/v1/chat/completions"
ARGUMENTS: dict[str, Any] = {
    "models": {"demo": "demo"},
    "load": {"max_batch": 4},
    "replicas": {"min_replicas": 2, "max_replicas": 2, "num_cpus": 1},
    "server": {"max_body_bytes": 10_000, "api_keys": ("key",)},
}


@pytest.fixture(scope="module")
def url(cluster: Cluster) -> Iterator[str]:
    from ray import serve

    from genai.cluster.service import application

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.shutdown()  # of the tests before, which had no proxies
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(application(ARGUMENTS), name="service", route_prefix="/")
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()


def test_it_answers_whoever_has_a_key(url: str) -> None:
    turns: list[Any] = [{"role": "user", "content": "What is a KV cache?"}]
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.post(CHAT, json={"messages": turns}).status_code == 401
        assert (
            client.post(CHAT, json={"messages": turns}, headers={"origin": "https://example.org"}).status_code
            == 403
        )
        assert client.get("/health/ready").json() == {"status": "ok"}
        client.headers["authorization"] = "Bearer key"
        assert client.post(CHAT, content=b" " * 20_000).status_code == 413
        first = client.post(CHAT, json={"messages": turns, "max_tokens": 24}).json()
        turns += [first["choices"][0]["message"], {"role": "user", "content": "And then?"}]
        second = client.post(CHAT, json={"messages": turns, "max_tokens": 24}).json()["usage"]
        assert second["prompt_tokens_details"]["cached_tokens"] > first["usage"]["prompt_tokens"]


def test_streams_come_in_pieces_and_end_with_their_clients(url: str) -> None:
    asked = {
        "messages": [{"role": "user", "content": "Go on."}],
        "max_tokens": 1900,
        "ignore_eos": True,
        "stream": True,
    }
    with httpx.Client(base_url=url, timeout=60, headers={"authorization": "Bearer key"}) as client:

        def num_running() -> float:
            lines = [client.get("/metrics").text for _ in range(8)]  # whichever front is asked
            return max(float(page.split("\ngenai_requests_running ")[1].split()[0]) for page in lines)

        with client.stream("POST", CHAT, json=asked) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert num_running() == 1
        until(lambda: num_running() == 0)


@pytest.mark.parametrize("wrong", [{"modles": {}}, {"server": {"hots": "x"}}, {"replicas": {"number": 2}}])
def test_what_there_is_not_is_refused(cluster: Cluster, wrong: dict[str, Any]) -> None:
    from genai.cluster.service import application

    with pytest.raises(OptionError, match="unexpected keyword argument"):
        application({**ARGUMENTS, **wrong})
