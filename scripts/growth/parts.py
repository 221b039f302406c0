"""The parts of a run: which sizes are measured, and what the arithmetic says of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from genai.folder import ModelFolder
from genai.runtime.providers.hardware import free_host_bytes

from .arithmetic import Arithmetic
from .measurements import (
    BATCH_PROMPT,
    WARM_PROMPT,
    Timing,
    alone,
    batch_seconds,
    decode_seconds,
    load_seconds,
    memory,
    prompt_seconds,
)

__all__ = ["DEFAULT", "PARTS", "QUICK", "Row", "Sizes", "Subjects"]

MEMORY_SHARE = 0.5
"""Of the memory that is free, what a KV cache may take: it is copied when it grows."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is measured.

    Args:
        pasts: Tokens before a decoding step.
        prompts: Tokens of prompts.
        batches: Numbers of sequences that decode together.
        contexts: Tokens of each sequence in the KV cache, where memory is measured.
        slots: Numbers of sequences there.
        timing: How often.
    """

    pasts: Sequence[int]
    prompts: Sequence[int]
    batches: Sequence[int]
    contexts: Sequence[int]
    slots: Sequence[int]
    timing: Timing

    def fit(self, context_length: int) -> Sizes:
        """Return what a context has room for; a decoding step needs some behind its past."""
        room = context_length - 2 * self.timing.steps
        return Sizes(
            [past for past in self.pasts if past <= room],
            [prompt for prompt in self.prompts if prompt <= room],
            self.batches,
            [context for context in self.contexts if context <= context_length],
            self.slots,
            self.timing,
        )


DEFAULT = Sizes(
    pasts=(64, 512, 2048, 8192, 16384, 32768),
    prompts=(64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384),
    batches=(1, 2, 4, 8, 16, 32),
    contexts=(1024, 4096, 16384),
    slots=(1, 4, 16),
    timing=Timing(rounds=3, steps=24),
)
QUICK = Sizes(
    pasts=(8, 64, 256),
    prompts=(16, 64, 256),
    batches=(1, 2, 4),
    contexts=(128,),
    slots=(1, 2),
    timing=Timing(rounds=1, steps=4),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A size, what it costs, and what it would cost if cost grew as the arithmetic says.

    Args:
        size: Tokens, sequences or bytes.
        measured: Seconds, or bytes that are resident.
        predicted: The same by arithmetic.
        slots: Sequences, where memory is measured.
        held_bytes: What the KV cache holds by arithmetic, where memory is measured.
        peak_bytes: The most that was resident, where memory is measured.
    """

    size: int
    measured: float
    predicted: float
    slots: int = 1
    held_bytes: int = 0
    peak_bytes: int = 0

    @property
    def ratio(self) -> float:
        """How much more it costs than the arithmetic says."""
        return self.measured / self.predicted


@dataclass(frozen=True, slots=True)
class Subjects:
    """What is measured: the first of the folders; all of them where loading is."""

    folders: Sequence[Path]
    arithmetic: Arithmetic
    sizes: Sizes

    @classmethod
    def of(cls, folders: Sequence[Path], sizes: Sizes) -> Subjects:
        """Look into the first folder.

        Raises:
            ValueError: Its graph does not tell what a token reads.
        """
        first = ModelFolder.load(folders[0])
        return cls(folders, Arithmetic.of(first), sizes.fit(first.decoder.context_length))


def _decode(subjects: Subjects) -> list[Row]:
    """A step's bytes, each of which takes what it takes behind the shortest past."""
    pasts, arithmetic = subjects.sizes.pasts, subjects.arithmetic
    seconds = alone(decode_seconds, subjects.folders[0], pasts, subjects.sizes.timing)
    return _by_work(pasts, seconds, arithmetic.step_bytes, base=0)


def _prompt(subjects: Subjects) -> list[Row]:
    """A prompt's operations, each of which takes what it takes in the longest prompt up to a chunk."""
    lengths, arithmetic = subjects.sizes.prompts, subjects.arithmetic
    seconds = alone(prompt_seconds, subjects.folders[0], lengths, subjects.sizes.timing)
    base = lengths.index(max(length for length in lengths if length <= WARM_PROMPT))
    return _by_work(lengths, seconds, arithmetic.prompt_operations, base=base)


def _batch(subjects: Subjects) -> list[Row]:
    """The longer of reading, at one sequence's speed, and of multiplying, at a prompt's."""
    counts, arithmetic = subjects.sizes.batches, subjects.arithmetic
    sample = alone(batch_seconds, subjects.folders[0], counts, subjects.sizes.timing)
    per_byte = sample.step_seconds[0] / arithmetic.step_bytes(BATCH_PROMPT, rows=counts[0])
    per_operation = sample.prompt_seconds / arithmetic.prompt_operations(sample.prompt_tokens)
    return [
        Row(
            count,
            each,
            max(
                per_byte * arithmetic.step_bytes(BATCH_PROMPT, rows=count),
                per_operation * arithmetic.step_operations(count),
            ),
        )
        for count, each in zip(counts, sample.step_seconds, strict=True)
    ]


def _memory(subjects: Subjects) -> list[Row]:
    """What the model takes without a cache, and the bytes of the cache."""
    rows = []
    for context in subjects.sizes.contexts:
        for slots in subjects.sizes.slots:
            held = subjects.arithmetic.held_bytes(context, slots)
            free = free_host_bytes()
            if free is not None and held > MEMORY_SHARE * free:
                print(f"left out, for want of memory: {slots} sequences of {context} tokens")
                continue
            sample = alone(memory, subjects.folders[0], context, slots)
            rows.append(Row(context, sample.resident, sample.before + held, slots, held, sample.peak))
    return rows


def _load(subjects: Subjects) -> list[Row]:
    """The folder's bytes, each of which takes what it takes in the smallest folder."""
    samples = {
        Arithmetic.of(ModelFolder.load(folder)).folder_bytes: [
            alone(load_seconds, folder) for _ in range(subjects.sizes.timing.rounds)
        ]
        for folder in subjects.folders
    }
    sizes = sorted(samples)
    return _by_work(sizes, [median(samples[size]) for size in sizes], lambda size: size, base=0)


def _by_work(
    sizes: Sequence[int], seconds: Sequence[float], work: Callable[[int], float], *, base: int
) -> list[Row]:
    """Return rows whose work takes, by arithmetic, what it takes in the row at `base`."""
    per_unit = seconds[base] / work(sizes[base])
    return [Row(size, each, per_unit * work(size)) for size, each in zip(sizes, seconds, strict=True)]


PARTS: Mapping[str, Callable[[Subjects], list[Row]]] = {
    "decode": _decode,
    "prompt": _prompt,
    "batch": _batch,
    "memory": _memory,
    "load": _load,
}
"""What measures each part."""
