"""The soak test: clients of all kinds, and what is called good."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from scripts.load.client import Record
from scripts.load.generators import Outcome
from scripts.load.processes import Usage
from scripts.load.verdict import Sample, judge, judge_memory, judge_rest
from scripts.load.visitors import BEHAVIOURS, Visitors
from scripts.load.workload import Ask

ROOT = Path(__file__).parents[2]


def stream(due: float, *, wait: float = 0.1, ends: int = 1, error: str | None = None) -> Record:
    return Record("stream", 10, due, [due + wait], answer_tokens=1, ends=ends, is_over=True, error=error)


def good(*records: Record) -> list[bool]:
    return [check.is_good for check in judge(Outcome(False, records, 0.0, 30.0, Usage(0.1)))]


def test_a_good_run() -> None:
    leaver = Record("leave", 10, 3.0, [3.5], is_over=True)
    assert good(*map(stream, range(30)), leaver) == [True, True, True]


def test_errors_are_bad_whosever_they_are() -> None:
    wrong = Record("bad body", 10, 3.0, is_over=True, error="500 in place of 400")
    assert good(*map(stream, range(30)), wrong) == [False, True, True]


@pytest.mark.parametrize("ends", [0, 2])
def test_answers_end_once(ends: int) -> None:
    assert good(*map(stream, range(30)), stream(5, ends=ends)) == [True, False, True]


def test_the_first_token_may_not_come_later_and_later() -> None:
    assert good(*(stream(due, wait=0.1 if due < 20 else 0.2) for due in range(30)))[2]  # too short to matter
    assert not good(*(stream(due, wait=1.0 if due < 20 else 2.0) for due in range(30)))[2]


@pytest.mark.parametrize(("growth", "is_good"), [(0.0, True), (0.015, True), (0.04, False)])
def test_memory_may_not_grow(growth: float, is_good: bool) -> None:
    samples = [Sample(float(time), int(1e8 * (1 + growth * time / 100)), 10**7) for time in range(-10, 101)]
    assert judge_memory(samples, start=0.0, end=100.0).is_good == is_good


def test_nothing_may_be_left_and_no_counter_missing() -> None:
    assert judge_rest({"running": 0.0}).is_good
    assert not judge_rest({"running": 1.0}).is_good
    assert not judge_rest({}).is_good


async def visit(answer: httpx.MockTransport, *, count: int) -> list[Record]:
    visitors = Visitors(max_context=100, seed=0)
    records = []
    async with httpx.AsyncClient(transport=answer, base_url="http://server") as client:
        for _ in range(count):
            records.append(Record("", 3, 0.0))
            await visitors.send(client, Ask("chat", [5, 6, 7], 2), records[-1], body={})
    return records


def answer_rightly(request: httpx.Request) -> httpx.Response:
    """Answer as a server should."""
    try:
        body = json.loads(request.content)
        if "model" in body:
            return httpx.Response(404)
        wants = len(body["prompt"]), body["max_tokens"], body.get("stream", False)
    except (ValueError, KeyError, TypeError):
        return httpx.Response(400)
    if wants[0] > 100 or wants[1] < 0 or "temprature" in body:
        return httpx.Response(400)
    end = {
        "choices": [{"text": " b", "finish_reason": "length"}],
        "usage": {"completion_tokens": 2},
    }
    if not wants[2]:
        return httpx.Response(200, json=end)
    begin = {"choices": [{"text": "a", "finish_reason": None}]}
    return httpx.Response(200, text=f"data: {json.dumps(begin)}\n\ndata: {json.dumps(end)}\n\n")


def test_visitors_behave_in_all_ways_and_find_nothing_wrong_with_a_server_that_is_right() -> None:
    records = asyncio.run(visit(httpx.MockTransport(answer_rightly), count=400))
    assert [record.error for record in records if record.error is not None] == []
    kinds = Counter(record.kind for record in records)
    assert kinds.keys() == BEHAVIOURS.keys()
    assert all(0.4 * share < kinds[name] / 400 < 2 * share for name, share in BEHAVIOURS.items())


def test_visitors_find_what_is_wrong() -> None:
    records = asyncio.run(visit(httpx.MockTransport(lambda _: httpx.Response(500)), count=400))
    assert all(record.error is not None for record in records)


@pytest.mark.slow
def test_the_whole_run(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "soak_test.py"), "--mix", "tiny", "--minutes", "0.1"]
    done = subprocess.run(
        [*command, "--log", str(tmp_path / "log")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = {line[6:].partition(":")[0]: line[:4] for line in done.stdout.splitlines()}
    assert len(found) == 6, done.stderr
    steady = ("memory stays", "the first token comes as soon as before")  # what seconds cannot tell
    assert {verdict for name, verdict in found.items() if name not in steady} == {"good"}, done.stdout
