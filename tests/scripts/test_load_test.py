"""The load generator: what is drawn, what a stream is taken for, what is counted, and the whole run in tiny sizes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, takewhile
from pathlib import Path

import httpx
import pytest

from scripts.load.batch import Batch
from scripts.load.client import Record, ask
from scripts.load.figures import Point, Waits, summarize
from scripts.load.generators import Outcome
from scripts.load.plots import plot
from scripts.load.processes import Usage, cpu_seconds, peak_bytes, resident_bytes, tree
from scripts.load.report import Report, as_markdown
from scripts.load.servers import Capacity, Programs, ServerError, start
from scripts.load.workload import MIXES, Ask, arrivals, draw

ROOT = Path(__file__).parents[2]
USAGE = Usage(0.1, 1.5, 2_000_000)


def record(due: float, times: list[float], *, tokens: int = 0, error: str | None = None) -> Record:
    return Record("chat", 10, due, times, answer_tokens=tokens, ends=1, error=error)


def point(server: str, load: float, *, is_closed: bool = True, speed: float = 90.0) -> Point:
    waits = Waits(0.1, 0.2, 0.3, 0.4)
    return Point(server, load, is_closed, 5, speed, 50.0, waits, waits, USAGE, {"429: busy": 2})


def report(*points: Point, batches: tuple[Batch, ...] = ()) -> Report:
    return Report(["the command"], "a machine", "a model", "a mix", points, batches)


def test_the_same_seed_draws_the_same_requests() -> None:
    first, again, other = (list(islice(draw(MIXES["mixed"], seed=seed), 50)) for seed in (3, 3, 4))
    assert first == again != other
    assert list(islice(arrivals(2, seed=3), 50)) == list(islice(arrivals(2, seed=3), 50))


def test_requests_are_of_the_mixs_lengths_and_shares() -> None:
    mix = MIXES["mixed"]
    asks = list(islice(draw(mix, seed=0), 1000))
    lengths = {kind.name: (kind.prompt_tokens, kind.answer_tokens) for kind in mix.kinds}
    assert all((len(ask.prompt), ask.answer_tokens) == lengths[ask.kind] for ask in asks)
    assert 550 < sum(ask.kind == "chat" for ask in asks) < 650
    begins = [tuple(ask.prompt[: mix.system_tokens]) for ask in asks if ask.kind != "short"]
    most = max(set(begins), key=begins.count)
    assert 0.4 < begins.count(most) / len(begins) < 0.6
    assert (
        len(set(begins)) == len(begins) - begins.count(most) + 1
    )  # nobody else's prompt begins as another's


def test_arrivals_have_their_rate() -> None:
    times = list(takewhile(lambda time: time < 500, arrivals(4, seed=0)))
    assert times == sorted(times)
    assert 1850 < len(times) < 2150


def chunk(text: str = "", *, reason: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": reason}]})


def answered(*events: str, status: int = 200, tokens: int = 2, leave_after: int | None = None) -> Record:
    """Ask for two tokens of a server that answers with these events, and says that it made so many tokens."""
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": tokens}})
    body = "".join(f"data: {event}\n\n" for event in (*events, usage, "[DONE]"))
    sent: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(status, text=body)

    async def run() -> Record:
        found = Record("chat", 3, 0.0)
        async with httpx.AsyncClient(
            transport=httpx.MockTransport(answer), base_url="http://server"
        ) as client:
            await ask(
                client, Ask("chat", [5, 6, 7], 2), found, body={"ignore_eos": True}, leave_after=leave_after
            )
        return found

    found = asyncio.run(run())
    assert sent[0]["prompt"] == [5, 6, 7]
    assert sent[0]["ignore_eos"] is True
    return found


def test_a_whole_answer() -> None:
    found = answered(chunk("a"), chunk("b", reason="length"))
    assert (len(found.times), found.answer_tokens, found.ends, found.error) == (2, 2, 1, None)
    assert found.is_whole


@pytest.mark.parametrize(
    ("events", "status", "tokens", "error"),
    [
        ([chunk("a", reason="stop")], 200, 1, "1 tokens came, not 2"),
        ([chunk("a"), json.dumps({"error": {"message": "no memory"}})], 200, 2, "no memory"),
        ([chunk("a")], 429, 2, "429: "),
    ],
)
def test_what_goes_wrong_is_in_the_record(events: list[str], status: int, tokens: int, error: str) -> None:
    found = answered(*events, status=status, tokens=tokens)
    assert error in (found.error or "")
    assert not found.is_whole


@pytest.mark.parametrize("ends", [0, 2])
def test_an_answer_ends_once(ends: int) -> None:
    found = answered(chunk("a"), chunk("b"), *[chunk(reason="length")] * ends)
    assert found.error is None
    assert not found.is_whole


def test_a_client_may_leave() -> None:
    found = answered(*[chunk("a")] * 5, leave_after=2)
    assert (len(found.times), found.ends) == (2, 0)


def test_what_counts_is_due_in_time_and_tokens_are_all_that_came() -> None:
    records = [
        record(9.0, [9.5, 10.5, 11.0], tokens=3),  # due before; two of its tokens count
        record(10.0, [10.5, 10.75, 12.75], tokens=6),  # two tokens a piece; the last piece too late
        record(11.0, [], error="429"),
    ]
    found = summarize("x", 4, Outcome(True, records, 10.0, 12.0, USAGE))
    assert found.num_requests == 2
    assert found.answer_tokens_per_second == (2 + 4) / 2
    assert found.prompt_tokens_per_second == 10 / 2
    assert found.first == Waits(0.5, 0.5, 0.5, 0.5)
    assert found.between is not None
    assert (found.between.p50, found.between.longest) == (1.125, 2.0)
    assert found.errors == {"429": 1}


def test_the_table_and_the_share_of_one_batch() -> None:
    shown = as_markdown(report(point("genai", 8), point("openvino", 8), batches=(Batch(8, 100.0, 120.0),)))
    assert "### 8 clients" in shown
    assert "| genai | 5 | 90.0 | 50.0 | 100 / 200 / 300 |" in shown
    assert "2 × 429: busy" in shown
    assert "90% of the 100.0 tokens/s" in shown
    assert "75% of the 120.0" in shown


def test_reports_are_read_again_and_joined(tmp_path: Path) -> None:
    first = report(point("genai", 8), point("genai", 16))
    second = report(point("genai", 16, speed=1.0), point("openvino", 16), batches=(Batch(8, 1.0, 2.0),))
    second.save(tmp_path / "second.json")
    joined = Report.join([first, Report.load(tmp_path / "second.json")])
    assert [(each.server, each.load, each.answer_tokens_per_second) for each in joined.points] == [
        ("genai", 8, 90.0),
        ("genai", 16, 1.0),
        ("openvino", 16, 90.0),
    ]
    assert joined.batches == [Batch(8, 1.0, 2.0)]


def test_a_plot_names_the_servers_and_leaves_out_what_never_came(tmp_path: Path) -> None:
    points = [
        point("genai", 1),
        point("genai", 2),
        replace(point("other", 2), first=None, between=None),
    ]
    plot(points, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text("utf-8")
    assert "genai" in drawn
    assert "other" in drawn
    assert "first token, p99, s" in drawn


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child that has 50 MB."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytes(range(50)) * 10**6; print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate(b"\n")


def test_a_process_counts_with_its_children(child: subprocess.Popen[bytes]) -> None:
    assert len(tree(child.pid)) == 2
    assert resident_bytes(child.pid) > 50_000_000
    assert peak_bytes(child.pid) >= resident_bytes(child.pid)
    assert cpu_seconds(child.pid) > 0


def test_a_server_without_its_program_is_told(tmp_path: Path) -> None:
    for engine, option in (("llama.cpp", "--llama-server"), ("openvino", "--openvino-python")):
        with (
            pytest.raises(ServerError, match=option),
            start(engine, "model", capacity=Capacity(1, 64, 1), programs=Programs(), log=tmp_path / "log"),
        ):
            pass


def test_a_server_that_ends_says_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerError, match="no-such-model"),
        start(
            "genai",
            str(tmp_path / "no-such-model"),
            capacity=Capacity(1, 64, 1),
            programs=Programs(),
            log=tmp_path / "log",
        ),
    ):
        pass


def run_script(*arguments: str, cwd: Path) -> str:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "load_test.py"),
        "--model",
        "genai=demo",
        "--mix",
        "tiny",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_whole_run(tmp_path: Path) -> None:
    short = ("--seconds", "1", "--warm-up", "0.2", "--work", str(tmp_path))
    shown = run_script("--clients", "3", "--pure-batch", *short, cwd=tmp_path)
    assert "### 3 clients" in shown
    assert "genai, served: " in shown
    written = tmp_path / "open.json"
    run_script("--rates", "20", *short, "--json", str(written), cwd=tmp_path)
    (found,) = Report.load(written).points
    assert found.num_requests > 0
    assert found.errors == {}
    assert found.usage.peak_bytes is not None
    again = run_script("--from", str(written), "--plot", str(tmp_path / "plot.svg"), cwd=tmp_path)
    assert "### 20 requests a second" in again
    assert (tmp_path / "plot.svg").exists()
