"""Measure how cost grows with work, beside what the arithmetic says: nothing should grow faster.

    python scripts/measure_growth.py [--parts NAME …] [--model FOLDER …] [--rounds N] [--quick]
        [--work DIR] [--json FILE] [--from FILE] [--plots DIR] [--write PAGE]

The parts: "decode" against the tokens before, up to 32k; "prompt" against its length; "batch", decoding alone, up to 32
sequences; "memory" against context and sequences; "load" against the folder's size. Each runs in processes of its own,
on the CPU; docs/performance.md says how, and what the arithmetic is.

Without --model, Qwen2.5-0.5B's shape is measured, with random weights at int4, and loaded in four numbers of layers:
these are made first, once (needs the `dev` extra: torch, transformers), and stay in the folder of --work. Of several
models only the first is measured, but all are loaded. --quick takes the demo model and tiny sizes.

Tables of Markdown are printed; --write puts them into a page that has markers for them, --json writes the figures and
--plots draws them, each as soon as a part is measured. --from takes what --json has written, in place of measuring. To bring the page up to date (twelve minutes on two cores, Linux):

    python scripts/measure_growth.py --json build/growth.json --plots docs/performance --write docs/performance.md
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from growth.parts import DEFAULT, PARTS, QUICK, Subjects
from growth.report import Report, as_markdown, write_tables

from genai import __version__
from genai.prepare import prepare_model
from genai.runtime.installed import runtime_version
from genai.runtime.providers.hardware import cpu_name


def main() -> None:
    """Measure or read, save, draw and write after each part, and print."""
    arguments = parse_arguments()
    for report in [Report.load(arguments.source)] if arguments.source else measure(arguments):
        if arguments.json:
            report.save(arguments.json)
        if arguments.plots:
            draw(report, arguments.plots)
        if arguments.write:
            write_tables(arguments.write, report)
    for part, rows in report.parts.items():
        print(f"\n### {part}\n\n{as_markdown(part, rows)}")


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--model", nargs="+", metavar="FOLDER")
    parser.add_argument("--rounds", type=int, help="of which medians count; 3 by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--work", type=Path, default=Path("build/growth"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draws PART.svg there")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> Iterator[Report]:
    """Measure the parts that are asked for; yield the report of all until then after each."""
    folders, model = find_models(arguments)
    sizes = QUICK if arguments.quick else DEFAULT
    if arguments.rounds:
        sizes = dataclasses.replace(sizes, timing=dataclasses.replace(sizes.timing, rounds=arguments.rounds))
    try:
        subjects = Subjects.of(folders, sizes)
    except ValueError as error:
        sys.exit(str(error))
    report = Report(
        command=shlex.join(["python", "scripts/measure_growth.py", *sys.argv[1:]]),
        machine=f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores, rounds: {sizes.timing.rounds}",
        versions=f"genai {__version__}, ONNX Runtime {runtime_version()}",
        model=model,
        parts={},
    )
    for part in arguments.parts:
        print(f"measuring: {part}", file=sys.stderr, flush=True)
        report = dataclasses.replace(report, parts={**report.parts, part: PARTS[part](subjects)})
        yield report


def draw(report: Report, folder: Path) -> None:
    """Draw every part that was measured."""
    # Here, since the processes that measure import this file, and memory is one of the measurements.
    from growth.plots import plot

    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in report.parts.items():
        plot(part, rows, folder / f"{part}.svg")


def find_models(arguments: argparse.Namespace) -> tuple[Sequence[Path], str]:
    """Return the folders, and what the first is called."""
    if not (arguments.model or arguments.quick):
        from growth.models import LAYERS, make_models

        return make_models(arguments.work, LAYERS), "Qwen2.5-0.5B's shape, random weights, int4"
    names = arguments.model or ["demo"]
    return [prepare_model(name).path for name in names], re.sub(r".*/", "", names[0].rstrip("/"))


if __name__ == "__main__":
    main()
