"""What is copied, and when, for caches that grow by concatenation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genai.cache import Slot
from genai.runtime import Decoder
from genai.runtime.growing import GrowingCache
from tests.runtime.test_any_graph import KINDS
from tests.runtime.test_devices import DetachedDevice
from tests.runtime.tiny_graphs import Reference
from tests.spans import decode, prefill


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> list[Slot]:
    """The slots whose past was copied into an arena, in order."""
    copied: list[Slot] = []
    gather = GrowingCache._gather

    def note(self: GrowingCache, slot: Slot, row: int, *, num_rows: int) -> None:
        copied.append(slot)
        gather(self, slot, row, num_rows=num_rows)

    monkeypatch.setattr(GrowingCache, "_gather", note)
    return copied


def decoder_of(kind: str, path: Path) -> Decoder:
    return Decoder(KINDS[kind]().folder(path), max_batch=4, num_threads=1)


def prefilled(decoder: Decoder, *prompts: list[int]) -> list[Slot]:
    slots = []
    for prompt in prompts:
        slot = decoder.cache.acquire(prompt[:1])
        assert slot is not None
        prefill(decoder, slot, prompt)
        slots.append(slot)
    return slots


def test_nothing_is_copied_while_the_same_rows_go_on(tmp_path: Path, gathered: list[Slot]) -> None:
    decoder = decoder_of("growing", tmp_path)
    first, second = prefilled(decoder, [1, 2, 3], [4])
    gathered.clear()
    for token_id in range(5):
        decode(decoder, [token_id, token_id])
    assert gathered == [first, second]


def test_a_prompt_between_two_steps_costs_the_others_nothing(tmp_path: Path, gathered: list[Slot]) -> None:
    decoder = decoder_of("growing", tmp_path)
    prefilled(decoder, [1, 2, 3], [4])
    decode(decoder, [5, 6])
    (third,) = prefilled(decoder, [7, 8])
    gathered.clear()
    decode(decoder, [5, 6])
    assert gathered == []
    prefill(decoder, third, [9])
    assert gathered == []  # it goes on from its last chunk


def test_only_rows_that_changed_are_copied_again(tmp_path: Path, gathered: list[Slot]) -> None:
    decoder = decoder_of("growing", tmp_path)
    first, second, third = prefilled(decoder, [1, 2, 3], [4, 5, 6], [7, 8])
    decode(decoder, [1, 1, 1])
    gathered.clear()
    decoder.cache.copy(first, second)
    decode(decoder, [2, 2, 2])
    assert gathered == [second]
    decoder.cache.truncate(third, 1)
    decode(decoder, [3, 3, 3])
    assert gathered == [second, third]


def test_runs_of_one_length_each_keep_their_own_arena(tmp_path: Path, gathered: list[Slot]) -> None:
    decoder = decoder_of("growing, positions from the past", tmp_path)
    slots = prefilled(decoder, [1, 2, 3], [4], [5, 6])
    gathered.clear()
    for token_id in range(4):
        decode(decoder, [token_id] * 3)
    assert gathered == slots
    decode(decoder, [1])
    assert len(decoder._runs._arenas) == 2  # that of the one run, and that of prompts


@pytest.mark.parametrize("kind", ["states, then growing", "growing, int32 inputs", "shared, then growing"])
def test_any_graph_runs_in_memory_that_the_host_cannot_reach(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genai.runtime.session._device", lambda *_, **__: DetachedDevice())
    decoder = decoder_of(kind, tmp_path)
    reference = Reference(KINDS[kind]().model())
    first, second = prefilled(decoder, [1, 2, 3], [4])
    for token_ids in ([5, 6], [7, 8]):
        rows = decode(decoder, token_ids)
        for slot, row in zip((first, second), rows, strict=True):
            np.testing.assert_allclose(row, reference(slot.token_ids)[-1], atol=1e-4)


def test_growing_caches_and_their_arenas_count_against_the_limit(tmp_path: Path) -> None:
    graph = KINDS["growing"]()
    shape = Decoder(graph.folder(tmp_path), num_threads=1).cache.shape
    position = 2 * 2 * 2 * 16 * 4  # layers, keys and values, heads, width, bytes
    assert shape.bytes_per_position == 5 * position
    limited = Decoder(graph.folder(tmp_path), num_threads=1, kv_cache_bytes=50 * position).cache
    assert limited.acquire([1]) is not None
    assert limited.capacity == 10
