"""What a second replica brings, and what Ray costs: one process, one replica and several, under the same open load.

    python scripts/measure_replicas.py [MODEL] [--replicas [N …]] [--rates R …] [--mix NAME] [--seconds S] [--warm-up S]
        [--max-batch N] [--seed N]

Every server computes with one thread for each of its models; "process" is `genai serve`, a number `genai serve --ray` with
so many replicas. Each is started anew for each load and ended after it. Prints a table of tokens a second, of the time to
the first token, and between two, at the median and where one of a hundred waits longer.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator

from load.figures import Point, Waits, summarize
from load.generators import Timing, open_loop
from load.servers import attach
from load.workload import MIXES, arrivals, draw

from genai.runtime.providers.hardware import cpu_name


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    print(f"{cpu_name()}; {arguments.model}, mix: {arguments.mix}, {arguments.seconds:g} s\n")
    print("| server | requests/s | tokens/s | first token, p50 | p99 | between tokens, p50 | p99 | errors |")
    print("|---|---|---|---|---|---|---|---|")
    for rate in arguments.rates:
        for number in [0, *arguments.replicas]:
            point = measure(number, rate, arguments)
            cells = [
                point.server,
                f"{rate:g}",
                f"{point.answer_tokens_per_second:.0f}",
                *milliseconds(point.first),
                *milliseconds(point.between),
                str(sum(point.errors.values())),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="demo", metavar="MODEL")
    parser.add_argument("--replicas", nargs="*", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--rates", nargs="+", type=float, default=[2.0, 8.0], metavar="R")
    parser.add_argument("--mix", choices=MIXES, default="chat")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def measure(number: int, rate: float, arguments: argparse.Namespace) -> Point:
    """Put one load on one server; 0 replicas are a process without Ray."""
    with served(number, arguments) as url:
        outcome = open_loop(
            attach(url),
            arrivals(rate, seed=arguments.seed),
            draw(MIXES[arguments.mix], seed=arguments.seed),
            Timing(arguments.warm_up, arguments.seconds),
        )
    return summarize(str(number) if number else "process", rate, outcome)


@contextlib.contextmanager
def served(number: int, arguments: argparse.Namespace) -> Iterator[str]:
    """Run a server until the block ends; give its address."""
    command = [sys.executable, "-m", "genai", "serve", f"model={arguments.model}", "--port", "0"]
    command += ["--max-batch", str(arguments.max_batch), "--max-requests", "100000", "--num-threads", "1"]
    if number:
        command += ["--ray", "--replicas", str(number), "--replica-cpus", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = iter(process.stderr.readline, "")
            addresses = (found[0] for line in said if (found := re.search(r"http://\S+(?=/v1)", line)))
            url = next(addresses, None)
            if url is None:
                sys.exit(f"the server has not begun: {' '.join(command)}")
            # the log of requests is read, so that writing it never waits
            reader = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            yield url
        finally:
            process.terminate()
            process.wait(120)
        reader.wait(10)


def milliseconds(waits: Waits | None) -> tuple[str, str]:
    """Return the median and the 99th percentile."""
    return ("–", "–") if waits is None else (f"{waits.p50 * 1000:.0f} ms", f"{waits.p99 * 1000:.0f} ms")


if __name__ == "__main__":
    main()
