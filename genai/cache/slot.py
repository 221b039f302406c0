"""A slot: one row of every buffer, and what is known of its content."""

from __future__ import annotations

from dataclasses import dataclass, field

from genai.cache.memory import Buffer

__all__ = ["PrefixKey", "Slot", "Snapshot", "common_length"]


@dataclass(frozen=True, slots=True)
class PrefixKey:
    """How keys, values and states were computed: a prefix is reused only where all of this is the same.

    Args:
        position_table: Which of the model's tables of positions; 0, unless it has several.
        adapter: The adapter's name; None is the model without one.
        has_dropped: Whether tokens are gone on which the others' keys and values still depend, so that no prompt may go on
            from there.
    """

    position_table: int = 0
    adapter: str | None = None
    has_dropped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A copy of a slot's states as they were after its first `position` tokens."""

    position: int
    states: tuple[Buffer, ...]


@dataclass(slots=True, eq=False)
class Slot:
    """One row of every buffer.

    `token_ids` are the tokens whose keys and values the row holds, from position 0 on; `key` says how they were
    computed. `revision` changes whenever the row's content does, other than by a run that appends to it.

    Where there are states, `side` says in which of a state's two buffers the row is; `snapshots` hold its states at
    earlier positions, in ascending order. `branch_point` is where the owner's prompt left what was cached, the place for
    a snapshot: the beginning that two prompts share is computed for the second one too, but no more for the third.
    """

    index: int
    token_ids: list[int] = field(default_factory=list)
    key: PrefixKey = field(default_factory=PrefixKey)
    in_use: bool = False
    last_used: int = 0
    branch_point: int = 0
    side: int = 0
    revision: int = 0
    snapshots: list[Snapshot] = field(default_factory=list)

    def common_prefix(self, token_ids: list[int], key: PrefixKey) -> int:
        """Return how many leading tokens of a prompt this slot holds."""
        return common_length(self.token_ids, token_ids) if self.key == key else 0


def common_length(a: list[int], b: list[int]) -> int:
    """Return the length of the common beginning of two lists.

    >>> common_length([1, 2, 3, 4], [1, 2, 9])
    2
    """
    low, high = 0, min(len(a), len(b))
    if high and a[0] != b[0]:
        return 0
    while low < high:  # a[:low] == b[:low]; slices compare at the speed of C
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
