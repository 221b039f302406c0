"""Replicas on several nodes: the answers of one server, wherever they come from, and also where some of them are lost."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from genai.server import ServedModels, ServerSettings, make_app
from tests.cluster.conftest import Served, served
from tests.server.conftest import demo, running, until

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
]
CHAT = "/v1/chat/completions"


def body(question: str, **options: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], "max_tokens": 24, **options}


def events(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.splitlines() if line]


@pytest.fixture(scope="module")
def pair(cluster: Cluster) -> Iterator[Served]:
    """Two replicas, one on each node."""
    with served(min_replicas=2, max_replicas=2) as pair:
        yield pair


def test_answers_are_those_of_one_server(pair: Served) -> None:
    asked = [body(f"What is {thing}?") for thing in ("a KV cache", "genai", "a token", "int4")]
    with running(make_app(ServedModels({"demo": demo}), ServerSettings())) as alone:
        assert answers(pair.client, asked) == answers(alone.client, asked)
        with pair.client as ours, alone.client as theirs:
            for path in ("/openapi.json", "/nothing"):
                assert ours.get(path).json() == theirs.get(path).json()


def answers(client: httpx.Client, asked: list[dict[str, Any]]) -> list[Any]:
    """Return what is said to each, whole and streamed, and to a request that is wrong."""
    found: list[Any] = []
    with client:
        for each in asked:
            found.append(client.post(CHAT, json=each).json()["choices"])
            streamed = events(client.post(CHAT, json={**each, "stream": True}).text)
            assert streamed.pop() == "[DONE]"
            found.append([json.loads(event)["choices"] for event in streamed])
        refused = client.post(CHAT, json={**asked[0], "temprature": 1})
        found.append((refused.status_code, refused.json()))
    return found


def test_a_large_body_gets_there(pair: Served) -> None:
    with pair.client as client:
        refused = client.post(CHAT, json=body("long " * 1_500_000))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_a_stream_comes_in_pieces(pair: Served) -> None:
    with (
        pair.client as client,
        client.stream(
            "POST", CHAT, json=body("Go on.", max_tokens=1500, ignore_eos=True, stream=True)
        ) as answer,
    ):
        lines = filter(None, answer.iter_lines())
        next(lines)
        # the replica counts an answer when it is whole: the first piece is here before that
        assert "genai_requests_running 1.0" in client.get("/metrics").text
        assert len(list(lines)) > 100


def test_a_conversation_stays_where_its_beginning_is(pair: Served) -> None:
    with pair.client as client:
        for number in range(4):
            turns: list[Any] = [{"role": "user", "content": f"Tell me about number {number}."}]
            first = client.post(CHAT, json=body("", messages=turns)).json()
            turns += [first["choices"][0]["message"], {"role": "user", "content": "And then?"}]
            second = client.post(CHAT, json=body("", messages=turns)).json()["usage"]
            assert second["prompt_tokens_details"]["cached_tokens"] > first["usage"]["prompt_tokens"]


def test_conversations_are_spread_and_a_clients_sessions_kept(pair: Served) -> None:
    before = pair.counted("genai_prompt_tokens_total")
    with pair.client as client:
        for number in range(16):
            client.post(CHAT, json=body(f"{number}", max_tokens=1))
    spread = pair.counted("genai_prompt_tokens_total")
    assert len([name for name in spread if spread[name] > before.get(name, 0)]) == 2
    with pair.client as client:
        for number in range(8):
            client.post(CHAT, json=body(f"{number}", max_tokens=1), headers={"x-session-id": "mine"})
    kept = pair.counted("genai_prompt_tokens_total")
    assert len([name for name in kept if kept[name] > spread[name]]) == 1


def test_a_client_that_leaves_ends_its_request(pair: Served) -> None:
    def num_running() -> int:
        pages = asyncio.run(pair.replicas.metrics(timeout_seconds=10)).values()
        return sum("genai_requests_running 0.0" not in page for page in pages)

    with (
        pair.client as client,
        client.stream(
            "POST", CHAT, json=body("Go on.", max_tokens=1900, stream=True, ignore_eos=True)
        ) as answer,
    ):
        lines = answer.iter_lines()  # which would close it if it went
        next(lines)
        assert num_running() == 1
    until(lambda: num_running() == 0)


def test_what_begins_again_and_what_is_cut_when_a_replica_is_lost(cluster: Cluster, pair: Served) -> None:
    import ray

    asked = [body(f"{number}", max_tokens=300, ignore_eos=True) for number in range(12)]
    begun = threading.Semaphore(0)

    def whole(each: dict[str, Any]) -> int:
        with pair.client as client:
            return client.post(CHAT, json=each).status_code

    def streamed(each: dict[str, Any]) -> list[str]:
        with pair.client as client, client.stream("POST", CHAT, json={**each, "stream": True}) as answer:
            assert answer.status_code == 200
            lines = filter(None, answer.iter_lines())
            first = next(lines)
            begun.release()
            return events("\n".join([first, *lines]))

    with ThreadPoolExecutor(max_workers=24) as pool:
        streams = [pool.submit(streamed, each) for each in asked]
        wholes = [pool.submit(whole, each) for each in asked]
        for _ in range(4):
            begun.acquire()
        lost = sorted(pair.counted("genai_prompt_tokens_total"))[0]
        ray.kill(ray.get_actor(f"SERVE_REPLICA::genai#replica#{lost}", namespace="serve"))
        assert [each.result() for each in wholes] == [200] * 12
        endings = [each.result()[-2:] for each in streams]
    assert all(last == "[DONE]" for _, last in endings)
    said = [json.loads(event) for event, _ in endings]
    cut = [each["error"] for each in said if "error" in each]
    assert all(each["code"] == "replica_lost" for each in cut)
    assert all(each["choices"][0]["finish_reason"] == "length" for each in said if "error" not in each)
    until(lambda: len(asyncio.run(pair.replicas.metrics(timeout_seconds=10))) == 2, seconds=120)
