"""Measure what adapters cost: a step of decoding and a prompt without any, with one, and with several in one batch.

    python scripts/measure_adapters.py PLAIN ADAPTED [--rows 1 8] [--steps 64] [--rounds 5] [--one-thread]

Both are folders of one model, of which the second has adapters. What is compared takes turns, and the median of each is
told, so that a machine that is busy for a while is busy for all. On a machine that is never quiet, `--one-thread` measures
the processor's time of one thread instead of the clock's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

from genai.cache import PrefixKey, Slot
from genai.folder import ModelFolder
from genai.model import Span
from genai.runtime import Decoder


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("plain")
    parser.add_argument("adapted")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--prompt", type=int, default=256, help="tokens of each row's prompt")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--optimize-for", default="auto")
    parser.add_argument("--one-thread", action="store_true")
    given = parser.parse_args()
    plain, adapted = (
        Decoder(
            ModelFolder.load(folder),
            provider="cpu",
            max_context=2048,
            optimize_for=given.optimize_for,
            num_threads=1 if given.one_thread else None,
        )
        for folder in (given.plain, given.adapted)
    )
    names = sorted(adapted.adapters)
    clock = time.process_time if given.one_thread else time.perf_counter
    for num_rows in given.rows:
        cases: dict[str, tuple[Decoder, list[str | None]]] = {
            "a folder without adapters": (plain, [None] * num_rows),
            "none named": (adapted, [None] * num_rows),
            "one": (adapted, [names[0]] * num_rows),
        }
        if num_rows > 1:
            cases["one in one row"] = (adapted, [names[0], *[None] * (num_rows - 1)])
            cases[f"{len(names)} in turn"] = (adapted, [names[row % len(names)] for row in range(num_rows)])
        times: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
        for _ in range(given.rounds):
            for case, (decoder, adapters) in cases.items():
                times[case].append(_measure(decoder, adapters, given.prompt, given.steps, clock))
        print(f"{num_rows} rows")
        for case, found in times.items():
            prompt, step = (statistics.median(each) for each in zip(*found, strict=True))
            print(f"  {case:28} step {1e3 * step:7.2f} ms, prompt of {given.prompt} {1e3 * prompt:7.1f} ms")


def _measure(
    decoder: Decoder,
    adapters: Sequence[str | None],
    prompt_length: int,
    num_steps: int,
    clock: Callable[[], float],
) -> tuple[float, float]:
    """Return the seconds of a row's prompt, and of a step of all rows."""
    slots: list[Slot] = []
    begun = clock()
    for row, adapter in enumerate(adapters):
        slot = decoder.cache.acquire([1000 + row], key=PrefixKey(adapter=adapter))
        assert slot is not None
        slots.append(slot)
        decoder.cache.truncate(slot, 0)
        decoder.cache.reserve(prompt_length + num_steps + 8)
        decoder.run([Span(slot, [1000 + row] * prompt_length)])
    prompt = (clock() - begun) / len(slots)
    times = []
    for _ in range(num_steps):
        begun = clock()
        _ = decoder.run([Span(slot, [7], 1) for slot in slots]).logits
        times.append(clock() - begun)
    for slot in slots:
        decoder.cache.truncate(slot, 0)
        decoder.cache.release(slot)
    return prompt, statistics.median(times)


if __name__ == "__main__":
    main()
