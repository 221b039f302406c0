"""Lookup, expectations and costs, each against a slow twin or a plain example."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.cache import Slot
from genai.config import GenerationConfig
from genai.engine import Request
from genai.engine.sequence import GenerationSequence
from genai.engine.speculation import Acceptance, NgramDrafter, NgramIndex, RunCosts, ngrams
from genai.engine.speculation.costs import ANOTHER_TOKEN
from genai.engine.speculation.ngrams import MAX_MATCH, SIZES
from genai.model import Span


def find_slowly(ids: Sequence[int]) -> tuple[int, int] | None:
    for size in SIZES:
        for place in range(len(ids) - 1, size - 1, -1):
            if ids[place - size : place] == ids[-size:]:
                length = size
                while length < min(MAX_MATCH, place) and ids[place - 1 - length] == ids[-1 - length]:
                    length += 1
                return place, length
    return None


@given(st.lists(st.integers(0, 2), max_size=60), st.lists(st.integers(1, 9)))
def test_the_index_finds_what_a_search_through_all_tokens_finds(ids: list[int], steps: list[int]) -> None:
    index, end = NgramIndex(), 0
    for step in [*steps, len(ids)]:
        end = min(end + step, len(ids))
        index.update(ids[:end])
        assert index.find(ids[:end]) == find_slowly(ids[:end])


@given(st.lists(st.integers(0, 2), max_size=80), st.lists(st.integers(1, 30)))
def test_the_index_of_a_long_list_holds_its_end_and_grows_by_parts(ids: list[int], steps: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "MAX_INDEXED", 10)
        patch.setattr(ngrams, "MAX_TAKEN", 7)
        index, end = NgramIndex(), 0
        for step in [*steps, len(ids), 0, 0, 0]:  # which is a part each
            end = min(end + step, len(ids))
            index.update(ids[:end])
            found = index.find(ids[:end])
            if found is not None:
                place, length = found
                assert ids[place - length : place] == ids[:end][-length:]
            assert all(len(ends) <= 20 for ends in index._ends.values())
        start = index._start
        slowly = find_slowly(ids[start:])
        assert (found is None) == (slowly is None)
        if found is not None and slowly is not None:
            assert found[0] == start + slowly[0]


def sequence_of(ids: Sequence[int]) -> GenerationSequence:
    request = Request(ids, GenerationConfig())
    return GenerationSequence(
        request, 0, request.make_sampler(vocab_size=99, stream=0, max_length=999), max_length=999
    )


def test_what_repeats_itself_is_guessed_to_go_on_repeating() -> None:
    drafter, sequence = NgramDrafter(), sequence_of([9, 1, 2, 3, 1, 2, 3, 1])
    assert drafter.level(sequence) == 2  # four tokens have been there before
    assert drafter.guess({sequence: 7}) == {sequence: [2, 3, 1, 2, 3, 1, 2]}
    drafter.forget(sequence)
    assert drafter.level(sequence_of([1, 2, 3])) is None


def test_expected_tokens_are_one_and_the_chances_of_each_more() -> None:
    acceptance = Acceptance([0.5, 1.0])
    assert acceptance.expected_tokens(0, [1, 3]) == pytest.approx([1.5, 1 + 0.5 + 0.5 + 0.5])
    assert acceptance.expected_tokens(5, [3]) == pytest.approx([4])
    for _ in range(200):
        acceptance.note(0, is_right=False)
        acceptance.note(7, is_right=True)
    assert acceptance.expected_tokens(0, [3])[0] < 1.01
    assert acceptance.expected_tokens(1, [15])[0] > 15.9


def note(costs: RunCosts, num_tokens: int, seconds: float, *, times: int = 20) -> None:
    for _ in range(times):
        costs.note([Span(Slot(0), [0] * num_tokens, num_tokens)], seconds)


def test_costs_are_believed_unless_measurements_are_far_from_them() -> None:
    costs = RunCosts()
    assert (costs.plain(0), costs.plain(1), costs.verification(1)) == (0, 1, 1)
    assert costs.of_seconds(1.0) is None
    note(costs, 1, 0.01)
    assert costs.of_seconds(0.02) == pytest.approx(2)
    for another_token in (0.2, 0.45):
        note(costs, 8, 0.01 * (1 + 7 * another_token))
        assert costs.verification(8) == pytest.approx(1 + 7 * ANOTHER_TOKEN)
    note(costs, 8, 0.01, times=40)
    assert costs.verification(8) < 1.2
    assert costs.plain(8) == costs.verification(8)
    for _ in range(9):  # paused for long again and again
        note(costs, 8, 0.3, times=1)
        note(costs, 8, 0.01, times=4)
    assert costs.verification(8) < 1.6  # of 3.1 at first


def test_forced_tokens_tell_nothing_of_drafts() -> None:
    costs = RunCosts()
    note(costs, 1, 0.01)
    for _ in range(40):
        costs.note([Span(Slot(0), [0] * 20, 1)], 0.01)
    assert costs.verification(8) == pytest.approx(1 + 7 * ANOTHER_TOKEN)


def test_what_was_found_dear_is_believed_to_be_cheaper_again_with_time() -> None:
    costs = RunCosts()
    note(costs, 1, 0.01)
    note(costs, 4, 0.5)
    assert costs.verification(4) > 4
    note(costs, 1, 0.01, times=2000)
    assert costs.verification(4) == pytest.approx(1 + 3 * ANOTHER_TOKEN)
    costs.note(
        [Span(Slot(0), [0], 1), Span(Slot(1), [0] * 4, 4)], 99.0
    )  # of two rows, nobody knows which took what
    assert costs.verification(4) == pytest.approx(1 + 3 * ANOTHER_TOKEN)
