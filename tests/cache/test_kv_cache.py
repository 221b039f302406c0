from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genai.cache import CacheShape, KVCache, PrefixKey, Slot, share_bytes
from genai.cache.placement import _Move
from tests.fakes import STATE, TENSORS, FakeModel, PoisonedDevice, fake_logits
from tests.spans import decode, prefill

BYTES_PER_POSITION = (2 * 2 * 3 + 1 * 4 + 1 * 2) * 4


def make_cache(**limits: int | None) -> KVCache:
    options = {"max_capacity": 1024, "max_slots": 4, "max_bytes": None, **limits}
    return KVCache(CacheShape(TENSORS, **options), PoisonedDevice())


def test_bytes_are_counted() -> None:
    cache = make_cache()
    cache.acquire([1])
    assert cache.shape.bytes_per_position == BYTES_PER_POSITION
    assert cache.nbytes == 256 * BYTES_PER_POSITION


def test_growth_doubles_and_moves_the_content() -> None:
    model = FakeModel(context_length=2048)
    slot = model.cache.acquire([1, 2, 3])
    prefill(model, slot, list(range(200)))
    before = model.cache.epoch
    assert model.cache.reserve(257)
    assert model.cache.capacity == 512
    assert model.cache.epoch == before + 1
    ids = [*range(200), 5]
    np.testing.assert_array_equal(decode(model, [5])[0], fake_logits(ids, [0] * len(ids), model.vocab_size))


def test_reserve_says_no_beyond_the_context() -> None:
    cache = make_cache(max_capacity=300)
    cache.acquire([1])
    assert cache.reserve(300)
    assert cache.capacity == 300
    assert not cache.reserve(301)


def test_reserve_gives_up_unowned_slots_under_a_byte_limit() -> None:
    cache = make_cache(max_bytes=600 * BYTES_PER_POSITION)
    first, second = cache.acquire([1]), cache.acquire([2])
    assert len(cache.slots) == 2
    cache.release(first)
    assert cache.reserve(500)
    assert cache.slots == [second]
    assert second.index == 0
    assert not cache.reserve(601)


def test_acquire_prefers_the_longest_common_prefix() -> None:
    cache = make_cache()
    a, b = cache.acquire([1]), cache.acquire([2])
    a.token_ids, b.token_ids = [1, 2, 3, 4], [1, 2, 9]
    cache.release(a)
    cache.release(b)
    again = cache.acquire([1, 2, 3, 7])
    assert again is a
    assert a.token_ids == [1, 2, 3]


def test_the_last_prompt_token_is_never_taken_from_the_cache() -> None:
    cache = make_cache()
    slot = cache.acquire([1, 2, 3])
    slot.token_ids = [1, 2, 3, 4]
    cache.release(slot)
    assert cache.acquire([1, 2, 3]).token_ids == [1, 2]


def test_a_prefix_in_use_is_copied() -> None:
    model = FakeModel(context_length=512)
    owner = model.cache.acquire([1])
    prefill(model, owner, [5, 6, 7, 8])
    other = model.cache.acquire([5, 6, 7, 9])
    assert other is not owner
    assert other.token_ids == [5, 6, 7]
    prefill(model, other, [9])
    decode(model, [1, 1])  # reads every row back


def test_a_prefix_of_another_key_is_not_reused() -> None:
    cache = make_cache()
    slot = cache.acquire([1, 2, 3])
    slot.token_ids = [1, 2, 3]
    cache.release(slot)
    assert cache.acquire([1, 2, 3], key=PrefixKey(position_table=1)).token_ids == []


def test_no_more_slots_than_allowed() -> None:
    cache = make_cache(max_slots=3)
    assert all(cache.acquire([i]) for i in range(3))
    assert cache.acquire([9]) is None


@pytest.fixture(scope="module")
def small_parts() -> Iterator[None]:
    """Let rows move a few positions at a time, and memory be given back for any number of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genai.cache.placement.MIN_MOVED", 2)
        patch.setattr("genai.cache.kv_cache.MIN_DISCARDED", 1)
        patch.setattr("genai.cache.kv_cache.MIN_IDLE_BYTES", 0)
        yield


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_order_of_operations_keeps_every_slots_content(small_parts: None, data: st.DataObject) -> None:
    limits = {"context_length": 600, "max_batch": 5, "has_state": data.draw(st.booleans())}
    shape = FakeModel(**limits).cache.shape
    max_bytes = shape.num_bytes(3, 80) if data.draw(st.booleans()) else None
    model = FakeModel(**limits, max_bytes=max_bytes)
    cache = model.cache
    owned: list[Slot] = []
    for _ in range(data.draw(st.integers(1, 25))):
        operation = data.draw(
            st.sampled_from(
                [
                    "acquire",
                    "append",
                    "decode",
                    "snapshot",
                    "adopt",
                    "release",
                    "move",
                    "copy",
                    "grow",
                    "truncate",
                ]
            )
        )
        slot = data.draw(st.sampled_from(owned)) if owned else None
        if operation == "acquire":
            prompt = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))
            least = data.draw(st.sampled_from([None, 60]))
            if (new := cache.acquire(prompt, least_capacity=least)) is not None:
                assert new.token_ids == prompt[: len(new.token_ids)]
                owned.append(new)
        elif operation == "grow":
            cache.reserve(data.draw(st.integers(1, 600)))
        elif slot is None:
            continue
        elif operation == "append" and len(slot.token_ids) < 50:
            prefill(model, slot, data.draw(st.lists(st.integers(0, 9), max_size=5)))
        elif operation == "decode":
            rows = [each for each in owned if len(each.token_ids) < 50 and data.draw(st.booleans())]
            for _ in range(data.draw(st.integers(1, 4)) if rows else 0):
                decode(
                    model,
                    data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))),
                    rows,
                )
        elif operation == "snapshot":
            cache.take_snapshot(slot)
        elif operation == "adopt":
            longer = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=4))
            cache.adopt_prefix(slot, [*slot.token_ids, *longer])
        elif operation == "release":
            cache.release(slot)
            owned.remove(slot)
        elif operation == "move" and len(free := [each for each in cache.slots if not each.in_use]) > 0:
            cache._buffers.move(slot, data.draw(st.sampled_from(free)))
        elif operation == "copy" and len(owned) > 1:
            target = data.draw(st.sampled_from([s for s in owned if s is not slot]))
            cache.copy(slot, target)
        elif operation == "truncate":
            kept = st.integers(0, len(slot.token_ids))
            positions = [0, *(each.position for each in slot.snapshots)]
            cache.truncate(slot, data.draw(kept if cache.can_truncate else st.sampled_from(positions)))
        cache.check()
        for each in cache.slots:
            if each.token_ids:
                model._logits(each)  # reads the state back too
            for row in model._rows(each):
                assert (row[0, :, : len(each.token_ids)] == np.array(each.token_ids)[None, :, None]).all()


def test_idle_slots_keep_no_more_than_what_was_in_use_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genai.cache.kv_cache.MIN_IDLE_BYTES", 0)
    model = FakeModel(context_length=600)
    cache = model.cache
    prompts = [[i] * 100 for i in range(4)]
    owned = [cache.acquire(prompt) for prompt in prompts[:3]]
    for slot, prompt in zip(owned, prompts, strict=False):
        prefill(model, slot, prompt)
    for slot in owned:
        cache.release(slot)
    assert [len(slot.token_ids) for slot in owned] == [100, 100, 100]
    slot = cache.acquire([7] * 150)  # in the place that never was used
    assert sorted(len(each.token_ids) for each in cache.slots) == [0, 0, 0, 100]
    prefill(model, slot, [7] * 150)
    cache.release(slot)
    assert sorted(len(each.token_ids) for each in cache.slots) == [0, 0, 100, 150]
    assert cache.acquire([*prompts[2], 5]).token_ids == prompts[2], "what was used last stays"


def test_a_device_that_gives_nothing_back_keeps_what_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genai.cache.kv_cache.MIN_IDLE_BYTES", 0)
    monkeypatch.setattr(PoisonedDevice, "can_discard", False)
    model = FakeModel(context_length=600)
    cache = model.cache
    for slot, token in [(cache.acquire([token]), token) for token in range(3)]:
        prefill(model, slot, [token] * 100)
        cache.release(slot)
    cache.acquire([7] * 500)
    assert sorted(len(each.token_ids) for each in cache.slots) == [0, 100, 100, 100]


def test_reading_outside_a_buffer_is_caught() -> None:
    buffer = PoisonedDevice().allocate((2, 3), np.float32)
    with pytest.raises(AssertionError):
        buffer.rows(1, 2)


def test_a_prompt_may_be_any_sequence() -> None:
    cache = make_cache()
    slot = cache.acquire([1, 2, 3])
    slot.token_ids = [1, 2, 3]
    cache.release(slot)
    assert cache.acquire((1, 2, 3)).token_ids == [1, 2]


def test_a_byte_limit_below_the_first_capacity_is_used_whole() -> None:
    cache = make_cache(max_bytes=100 * BYTES_PER_POSITION)
    assert cache.acquire([1]) is not None
    assert cache.capacity == 100


def test_near_the_byte_limit_growth_takes_all_that_is_left() -> None:
    cache = make_cache(max_bytes=700 * BYTES_PER_POSITION)
    cache.acquire([1])
    assert cache.reserve(512)
    assert cache.reserve(513)
    assert cache.capacity == 700


def test_states_are_counted_per_slot_and_twice() -> None:
    shape = CacheShape((*TENSORS, STATE), 1024, 4, 3 * 2 * 16 + 30 * BYTES_PER_POSITION)
    assert shape.bytes_per_slot == 2 * 16
    assert shape.capacity_for(3) == 10
    assert shape.fits(3, 10)
    assert not shape.fits(3, 11)
    assert CacheShape((STATE,), 1024, 4, 64).capacity_for(2) == 1024
    assert CacheShape((STATE,), 1024, 4, 63).capacity_for(2) == 0


def test_slots_of_states_alone_have_all_positions_at_once() -> None:
    cache = KVCache(CacheShape((STATE,), 1 << 20, 4, 64), PoisonedDevice())
    cache.acquire([1])
    assert (cache.capacity, cache.nbytes) == (1 << 20, 2 * 16)
    epoch = cache.epoch
    assert cache.reserve(1 << 20)
    assert cache.epoch == epoch
    assert cache.acquire([2]) is not None
    assert cache.acquire([3]) is None  # its states do not fit


def test_caches_share_bytes_by_what_a_sequence_takes() -> None:
    with_states = KVCache(CacheShape((STATE,), 1 << 20, 4), PoisonedDevice())
    cache = make_cache()
    share_bytes([cache, with_states], 1000 * BYTES_PER_POSITION)
    assert cache.shape.max_bytes is not None
    assert cache.shape.max_bytes >= 990 * BYTES_PER_POSITION
    assert with_states.shape.fits(1, 1)


def test_a_state_is_not_cut_back() -> None:
    model = FakeModel(has_state=True)
    slot = model.cache.acquire([1])
    prefill(model, slot, [1, 2, 3])
    with pytest.raises(AssertionError):
        model.cache.truncate(slot, 2)
    model.cache.truncate(slot, 0)
    prefill(model, slot, [4])
    decode(model, [5])  # reads the state back: it began from zero, in poisoned memory


def test_a_state_in_use_is_copied_only_whole() -> None:
    model = FakeModel(has_state=True)
    owner = model.cache.acquire([1])
    prefill(model, owner, [5, 6, 7])
    assert model.cache.acquire([5, 6, 9]).token_ids == []
    assert model.cache.acquire([5, 6, 7, 9]).token_ids == [5, 6, 7]
    assert model.cache.acquire([5, 6, 7]).token_ids == []  # the last prompt token has to run
    decode(model, [1, 1, 1])


def test_slots_on_different_sides_run_together() -> None:
    model = FakeModel(has_state=True)
    first, second = model.cache.acquire([1]), model.cache.acquire([2])
    prefill(model, first, [1, 2])
    prefill(model, second, [3])
    prefill(model, second, [4])
    assert first.side != second.side
    decode(model, [7, 8])
    decode(model, [7, 8])


def test_a_row_whose_tokens_have_moved_is_not_moved_on_with() -> None:
    key = PrefixKey(has_dropped=True)
    source, target = Slot(0, [5] * 9, key, in_use=True), Slot(1, [5] * 4, key)
    move = _Move(source, target, source.revision)
    assert move.is_valid
    source.revision += 1  # equal tokens at other positions
    assert not move.is_valid
