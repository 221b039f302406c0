"""Which turns of a conversation that is too long are left out: the oldest, and several at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["drop_oldest_turns"]

STEPS = 4
"""Parts of the room by which the cut moves: so several turns in a row begin alike, and a cache holds what they begin with."""

Messages = Sequence[Mapping[str, Any]]


def drop_oldest_turns(messages: Messages, count_tokens: Callable[[Messages], int], *, room: int) -> Messages:
    """Return a conversation without its oldest turns, if it is too long.

    A turn is a user's message with all that follows it; what stands before the first one, such as a system prompt, stays,
    and so does the last turn, whatever its length.

    Args:
        messages: The conversation, each message with a role.
        count_tokens: Returns how many tokens a conversation takes; asked for log(turns) of them.
        room: How many it may take.
    """
    total = count_tokens(messages)
    starts = [index for index, message in enumerate(messages) if message["role"] == "user"]
    if total <= room or len(starts) < 2:
        return messages
    step = max(room // STEPS, 1)
    most = total - -(-(total - room) // step) * step

    def without(count: int) -> Messages:
        return [*messages[: starts[0]], *messages[starts[count] :]]

    low, high = 1, len(starts) - 1
    while low < high:
        middle = (low + high) // 2
        if count_tokens(without(middle)) <= most:
            high = middle
        else:
            low = middle + 1
    return without(low)
