"""Let `genai serve` run for long under clients as they are in the wild, and judge it; the exit code is 1 if it fails.

    python scripts/soak_test.py [--model MODEL] [--minutes M] [--share S] [--mix NAME] [--slots N] [--threads N]
        [--seed N] [--log FILE]

First every slot is filled with as much as a request of the mix can take, since keys and values of ended requests stay as
far as so many were in use at once. Then as many clients as there are slots ask for a while, which tells the capacity. Then
requests arrive at random, at --share of it (0.8): of a hundred clients 74 read a streamed answer and 6 a whole one, 10 leave in the middle, 3
before anything came, 3 send prompts that are too long, 4 bodies that are none. Judged are: every request answered or
refused as it should be; every answer ended exactly once; memory of the server's processes, which may grow by 2 % from the
first fifth of the time to the last (it is told how much of that are keys and values); how long half of all wait for the
first token, by half from the first third to the last; the server's log, without a
traceback; and, when all clients are gone, its own counters: nothing runs or waits, and no slot of the cache is held.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from load.generators import Timing, closed_loop, open_loop
from load.processes import resident_bytes
from load.servers import Capacity, Programs, Running, ServerError, start
from load.verdict import Check, Sample, judge, judge_memory, judge_rest
from load.visitors import Visitors
from load.workload import MIXES, Kind, Mix, arrivals, draw
from prometheus_client.parser import text_string_to_metric_families

FILLING_SECONDS, CAPACITY_SECONDS = 90.0, 60.0
SETTLE_SECONDS = 10.0
IN_HAND = (
    "genai_requests_running",
    "genai_model_requests_running",
    "genai_model_requests_waiting",
    "genai_kv_cache_tokens",
)
"""What the server's counters call that which is nothing once all clients are gone."""


def main() -> None:
    """Run, print the verdict, and exit with it."""
    arguments = parse_arguments()
    capacity = Capacity(arguments.slots, MIXES[arguments.mix].max_tokens, arguments.threads)
    try:
        with start(
            "genai", arguments.model, capacity=capacity, programs=Programs(), log=arguments.log
        ) as running:
            checks = soak(running, arguments, max_context=capacity.tokens)
    except ServerError as error:
        sys.exit(str(error))
    for check in checks:
        print(f"{'good' if check.is_good else 'BAD '}  {check.name}: {check.found}")
    sys.exit(0 if all(check.is_good for check in checks) else 1)


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--share", type=float, default=0.8)
    parser.add_argument("--mix", choices=MIXES, default="mixed")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("build/soak.log"), help="the server's")
    return parser.parse_args()


def soak(running: Running, arguments: argparse.Namespace, *, max_context: int) -> list[Check]:
    """Fill the cache, measure the capacity, put the load on, and look at what is left."""
    mix, seed = MIXES[arguments.mix], arguments.seed
    assert running.pid is not None
    filling, seconds = (min(each, arguments.minutes * 60) for each in (FILLING_SECONDS, CAPACITY_SECONDS))
    longest = Mix((Kind("longest", mix.max_tokens - mix.max_tokens // 4, mix.max_tokens // 4),))
    closed_loop(running, arguments.slots, draw(longest, seed=seed), Timing(0.0, filling))
    full = closed_loop(running, arguments.slots, draw(mix, seed=seed), Timing(seconds / 4, seconds))
    rate = arguments.share * sum(
        full.start <= each.times[-1] < full.end for each in full.records if each.is_whole
    )
    rate /= seconds
    print(
        f"{rate / arguments.share:.2f} requests a second at most; now {rate:.2f}", file=sys.stderr, flush=True
    )
    visitors = Visitors(max_context=max_context, seed=seed)
    timing = Timing(arguments.minutes * 6, arguments.minutes * 60)  # a tenth more, at first
    with watched(running) as samples:
        outcome = open_loop(
            running, arrivals(rate, seed=seed), draw(mix, seed=seed + 1), timing, send=visitors.send
        )
    return [
        *judge(outcome),
        judge_memory(samples, start=outcome.start, end=outcome.end),
        judge_log(arguments.log),
        judge_rest(settled(running.url)),
    ]


@contextlib.contextmanager
def watched(running: Running) -> Iterator[list[Sample]]:
    """Note every second what a server's processes have resident, as long as the block lasts."""
    samples: list[Sample] = []
    over = threading.Event()

    def watch() -> None:
        assert running.pid is not None
        while not over.wait(1.0):
            found = counters(running.url)
            held = found["genai_kv_cache_tokens"] + found["genai_kv_cache_idle_tokens"]
            token_bytes = found["genai_kv_cache_bytes"] / found["genai_kv_cache_max_tokens"]
            samples.append(Sample(time.perf_counter(), resident_bytes(running.pid), int(held * token_bytes)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def counters(url: str) -> dict[str, float]:
    """Return a server's counters, of all models together."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found: Counter[str] = Counter()
    for sample in (sample for family in families for sample in family.samples):
        found[sample.name] += sample.value
    return dict(found)


def settled(url: str) -> dict[str, float]:
    """Return what a server has in hand, as soon as that is nothing, or after a while."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        there = counters(url)
        found = {name: there[name] for name in IN_HAND}
        if not any(found.values()) or time.monotonic() > end:
            return found
        time.sleep(0.1)


def judge_log(log: Path) -> Check:
    """Look for tracebacks in the server's log."""
    found = [line for line in log.read_text(errors="replace").splitlines() if "Traceback" in line]
    return Check("the log has no traceback", not found, f"{len(found)} in {log}")


if __name__ == "__main__":
    main()
