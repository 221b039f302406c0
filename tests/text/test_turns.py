"""Which turns of a long conversation are left out."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from genai.text import drop_oldest_turns

ROLES = st.sampled_from(["user", "assistant", "tool"])
CONVERSATIONS = st.lists(st.tuples(ROLES, st.integers(1, 30)), min_size=1, max_size=40)


def messages_of(parts: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """A system prompt, and messages whose content is how many tokens they take."""
    return [{"role": "system", "content": 5}, *({"role": role, "content": size} for role, size in parts)]


def count(messages: Any) -> int:
    return sum(message["content"] for message in messages)


@given(CONVERSATIONS, st.integers(10, 200))
def test_the_newest_turns_that_fit_stay(parts: list[tuple[str, int]], room: int) -> None:
    messages = messages_of(parts)
    kept = drop_oldest_turns(messages, count, room=room)
    starts = [index for index, message in enumerate(messages) if message["role"] == "user"]
    first = len(messages) - len(kept) + (starts[0] if starts else 0)
    if count(messages) <= room or len(starts) < 2:
        assert kept == messages
        return
    assert kept == [*messages[: starts[0]], *messages[first:]]
    assert first in starts[1:]
    assert count(kept) <= room or first == starts[-1]
    # No more is left out than the steps by which the cut moves.
    earlier = starts[starts.index(first) - 1]
    assert (
        count([*messages[: starts[0]], *messages[earlier:]]) > room - max(room // 4, 1)
        or earlier == starts[0]
    )


def test_the_cut_stays_where_it_is_for_several_turns() -> None:
    kept_first = []
    for turns in range(30, 60):
        messages = messages_of([("user", 5), ("assistant", 5)] * turns)
        for index, message in enumerate(messages):
            message["index"] = index
        kept_first.append(drop_oldest_turns(messages, count, room=200)[1]["index"])
    assert len(set(kept_first)) <= len(kept_first) / 4
