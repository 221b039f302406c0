"""What a server counts, and what its page of documentation says of that."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from genai.engine import GenerationResult, GenerationStats
from genai.server.metrics import Metrics
from tests.server.conftest import Running

BODY = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    with server.client as client:
        yield client


def test_counters(client: httpx.Client) -> None:
    def value(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (.*)$", client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0

    generated = 'genai_generated_tokens_total{model="demo"}'
    queued = 'genai_queue_seconds_count{model="demo"}'
    answered = f'genai_requests_total{{path="{CHAT}",status="200"}}'
    before = value(generated), value(answered), value(queued)
    client.post(CHAT, json={**BODY, "ignore_eos": True})
    assert (value(generated), value(answered), value(queued)) == (before[0] + 2, before[1] + 1, before[2] + 1)


def test_tokens_of_a_stream_whose_client_leaves_are_counted(client: httpx.Client) -> None:
    def generated() -> float:
        found = re.search(
            r'^genai_generated_tokens_total{model="demo"} (.*)$', client.get("/metrics").text, re.M
        )
        return float(found[1]) if found else 0

    before = generated()
    body = {**BODY, "stream": True, "max_tokens": 500, "ignore_eos": True}
    with client.stream("POST", CHAT, json=body) as answer:
        lines = answer.iter_lines()
        for _ in range(12):  # each event is followed by an empty line
            next(lines)
    end = time.monotonic() + 5
    while generated() - before < 4 and time.monotonic() < end:
        time.sleep(0.01)
    assert 4 <= generated() - before < 500


def test_what_a_generation_took_is_counted() -> None:
    metrics = Metrics()
    stats = GenerationStats(9, 4, 6, 0.6, 2.0, 4.0, drafted_tokens=5, accepted_tokens=3, queue_seconds=0.3)
    metrics.add("demo", [GenerationResult("", (), (), "stop", stats)] * 2, num_streamed=15)
    samples = {
        (each.name, each.labels.get("le")): each.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for each in family.samples
    }
    assert samples["genai_drafted_tokens_total", None] == 10
    assert samples["genai_accepted_tokens_total", None] == 6
    assert samples["genai_generated_tokens_total", None] == 15  # 12, and 3 of an answer that was cut
    assert samples["genai_queue_seconds_sum", None] == 0.6
    assert (samples["genai_queue_seconds_bucket", "0.1"], samples["genai_queue_seconds_bucket", "0.5"]) == (
        0,
        2,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="told by /proc")
def test_the_process_is_watched(client: httpx.Client) -> None:
    page = client.get("/metrics").text
    resident = re.search(r"^process_resident_memory_bytes (\S+)$", page, re.MULTILINE)
    assert resident is not None
    assert float(resident[1]) > 1 << 20


def test_the_table_has_every_metric(client: httpx.Client) -> None:
    client.post(CHAT, json=BODY)
    page = (Path(__file__).parents[2] / "docs/serving.md").read_text("utf-8")
    section = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    assert not [each.name for each in families if each.name.endswith("_created")]
    there = {each.name + "_total" * (each.type == "counter") for each in families}
    own = {name for name in there if name.startswith("genai_")}
    assert {name for name in told if name.startswith("genai_")} == own
    assert told - own <= there
