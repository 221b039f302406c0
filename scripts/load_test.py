"""Put load on servers of OpenAI's interface, and compare what they make of it: speed, waiting, memory, errors.

    python scripts/load_test.py (--rates R … | --clients N …) [--servers NAME … | --url URL] [--mix NAME]
        [--seconds S] [--warm-up S] [--shape NAME | --model SERVER=PATH …] [--row SERVER=ROW …] [--work DIR]
        [--llama-server PATH] [--openvino-python PATH] [--slots N] [--threads N] [--pure-batch] [--seed N]
        [--json FILE] [--from FILE …] [--plot FILE]

The load is open (--rates: requests arrive at random, so many a second, whether the server keeps up or not) or closed
(--clients: so many, each of which asks again when its answer has come). Requests are streamed, greedy and of fixed
lengths; all servers get the same ones. The mixes: "mixed" is 6 of 10 chats (a prompt of 200 tokens, an answer of 150), 1
long (1,500, 100), 3 short (40, 30), half of those that are long enough with the same 100 at the beginning; "chat" the
chats alone; "decode" 32 and 256; "tiny" is to see that it runs.

The servers, each started for each load anew and ended after it, in turns, on two cores one beside the client:

    genai      genai serve
    llama.cpp  llama-server (--llama-server; the source in llama-cpp-python's archive builds it, with llama-quantize:
               cmake -B build -DLLAMA_BUILD_SERVER=ON && cmake --build build --target llama-server llama-quantize)
    openvino   OpenVINO GenAI's ContinuousBatchingPipeline behind a server of this script's own (--openvino-python: an
               environment with openvino-genai, and optimum-intel to convert)

or with --url one that runs. Models are those of `compare_peers.py`, at 4 bits, in the same folders: of --shape, by --row.
What counts begins after --warm-up; the first tokens, and the time between tokens, of requests that were due from then on.
A request waits from when it was due. --pure-batch measures, beside N clients of genai, one batch of N such prompts without
a server. --from joins what --json has written, in place of measuring; --plot draws.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from itertools import islice
from pathlib import Path

from load.batch import Batch, run_batch
from load.figures import Point, summarize
from load.generators import Timing, closed_loop, open_loop
from load.models import ROWS, find_model
from load.report import Report, as_markdown
from load.servers import SERVERS, Capacity, Programs, Running, ServerError, attach, start
from load.workload import MIXES, arrivals, draw
from peers.sources import SHAPES
from peers.worker import WorkerError

from genai.runtime.providers.hardware import cpu_name


def main() -> None:
    """Measure or read, save, draw and print."""
    arguments = parse_arguments()
    try:
        reports = [Report.load(path) for path in arguments.source] or [measure(arguments)]
    except (ServerError, WorkerError) as error:
        sys.exit(str(error))
    report = Report.join(reports)
    if arguments.json:
        report.save(arguments.json)
    if arguments.plot:
        from load.plots import plot

        plot(report.points, arguments.plot)
    print(
        f"`{report.commands[0]}`\n\n{report.model}; {report.machine}; {report.mix}\n\n{as_markdown(report)}"
    )


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    load = parser.add_mutually_exclusive_group()
    load.add_argument("--rates", nargs="+", type=float, metavar="R", help="arrivals a second")
    load.add_argument("--clients", nargs="+", type=int, metavar="N")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--servers", nargs="+", choices=SERVERS, default=["genai"])
    where.add_argument("--url", help="one that runs, as http://127.0.0.1:8000")
    parser.add_argument("--mix", choices=MIXES, default="mixed")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=10.0)
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--model", nargs="+", type=_pair, default=[], metavar="SERVER=PATH")
    parser.add_argument("--row", nargs="+", type=_pair, default=[], metavar="SERVER=ROW")
    parser.add_argument("--work", type=Path, default=Path("build/peers"))
    parser.add_argument("--llama-server", metavar="PATH", default=shutil.which("llama-server"))
    parser.add_argument("--openvino-python", metavar="PATH")
    parser.add_argument("--slots", type=int, default=32, help="most requests that run together in a server")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pure-batch", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--from", nargs="+", type=Path, metavar="FILE", dest="source", default=[])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="an SVG")
    arguments = parser.parse_args()
    if not (arguments.rates or arguments.clients or arguments.source):
        parser.error("one of --rates, --clients and --from is needed")
    if arguments.pure_batch and (arguments.url or not arguments.clients or "genai" not in arguments.servers):
        parser.error("--pure-batch goes with --clients and the server genai")
    return arguments


def measure(arguments: argparse.Namespace) -> Report:
    """Put every load on every server, in turns."""
    mix = MIXES[arguments.mix]
    capacity = Capacity(arguments.slots, mix.max_tokens, arguments.threads)
    programs = Programs(arguments.llama_server, arguments.openvino_python)
    models = {} if arguments.url else find_models(arguments, programs)
    points: list[Point] = []
    batches: list[Batch] = []
    for load in arguments.rates or arguments.clients:
        unit = "clients" if arguments.clients else "requests a second"
        if arguments.url:
            say(f"{arguments.url}: {load:g} {unit}")
            points.append(measure_point("server", attach(arguments.url), load, arguments))
        for name, model in models.items():
            say(f"{name}: {load:g} {unit}")
            log = arguments.work / f"{name}-server.log"
            with start(name, model, capacity=capacity, programs=programs, log=log) as running:
                points.append(measure_point(name, running, load, arguments))
        if arguments.pure_batch:
            say(f"genai: one batch of {load}")
            asks = list(islice(draw(mix, seed=arguments.seed), load))
            batches.append(run_batch(models["genai"], asks, capacity))
    return Report(
        commands=[shlex.join(["python", "scripts/load_test.py", *sys.argv[1:]])],
        machine=f"{cpu_name()}, threads: {arguments.threads}",
        model=arguments.url or ", ".join(f"{name}: {Path(model).name}" for name, model in models.items()),
        mix=f"mix: {arguments.mix}, {arguments.seconds:g} s after {arguments.warm_up:g}",
        points=points,
        batches=batches,
    )


def measure_point(name: str, running: Running, load: float, arguments: argparse.Namespace) -> Point:
    """Put one load on a server that takes requests."""
    asks = draw(MIXES[arguments.mix], seed=arguments.seed)
    timing = Timing(arguments.warm_up, arguments.seconds)
    if arguments.clients:
        outcome = closed_loop(running, int(load), asks, timing)
    else:
        outcome = open_loop(running, arrivals(load, seed=arguments.seed), asks, timing)
    return summarize(name, load, outcome)


def find_models(arguments: argparse.Namespace, programs: Programs) -> dict[str, str]:
    """Return what each server loads."""
    given, rows = dict(arguments.model), {**ROWS, **dict(arguments.row)}
    return {
        name: given.get(name)
        or str(find_model(name, rows[name], arguments.shape, arguments.work.resolve(), programs))
        for name in arguments.servers
    }


def say(text: str) -> None:
    """Tell what is going on, beside what the run prints."""
    print(text, file=sys.stderr, flush=True)


def _pair(text: str) -> tuple[str, str]:
    server, _, value = text.partition("=")
    if server not in SERVERS or not value:
        raise argparse.ArgumentTypeError(f'"{text}" is not SERVER=…, one of {", ".join(SERVERS)}')
    return server, value


if __name__ == "__main__":
    main()
