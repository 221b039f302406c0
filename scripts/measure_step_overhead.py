"""Print Python's share of a greedy decoding step: everything beyond ONNX Runtime's own run, in microseconds.

    python scripts/measure_step_overhead.py [MODEL] [--new-tokens N] [--rounds N]

Measured at batch 1, streamed (detokenization included) and not, in turns; the median over the rounds is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from genai import Generator
from genai.runtime.run_clock import timed_runs


def overhead_microseconds(generate: Callable[[], object]) -> float:
    """Return the time per run that a generation spends outside ONNX Runtime."""
    with timed_runs() as seconds:
        start = time.perf_counter()
        generate()
        whole = time.perf_counter() - start
    return (whole - sum(seconds)) / len(seconds) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--new-tokens", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    options = {
        "max_new_tokens": arguments.new_tokens,
        "ignore_eos": True,
        "do_sample": False,
        "speculative": "off",
    }
    with Generator(arguments.model) as generator:
        prompt = [1] * 8
        kinds: dict[str, Callable[[], object]] = {
            "not streamed": lambda: generator.generate(token_ids=prompt, **options),
            "streamed": lambda: list(generator.stream(token_ids=prompt, **options)),
        }
        overheads: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            for kind, generate in kinds.items():
                overheads[kind].append(overhead_microseconds(generate))
    for kind, values in overheads.items():
        print(
            f"{kind}: {statistics.median(values):.1f} µs per step beyond run_with_iobinding (min {min(values):.1f})"
        )


if __name__ == "__main__":
    main()
