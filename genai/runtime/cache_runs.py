"""What a run of any kind needs of the KV cache: its rows bound where they lie, or staged where the cache grows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from genai.cache import KVCache, Slot
from genai.runtime.binding import Binding
from genai.runtime.growing import GrowingCache
from genai.runtime.session import DecoderSession
from genai.runtime.step_buffers import StepBuffers

__all__ = ["CacheRuns"]


class CacheRuns:
    """Binds runs over the slots of a cache.

    Args:
        session: A session that runs over the cache; others over the same cache bind alike.
        cache: The slots.
        second_table: The row at which the second table of positions begins, where both lie in one; else 0.
    """

    def __init__(self, session: DecoderSession, cache: KVCache, *, second_table: int) -> None:
        self._cache = cache
        self._device = session.device
        self._growing = [(place, port) for place, port in enumerate(session.graph.cache) if port.grows]
        self._second_table = second_table
        self._arenas: dict[int, GrowingCache] = {}

    @property
    def grows(self) -> bool:
        """Whether the cache is staged for every run."""
        return bool(self._growing)

    def arena(self, place: int) -> GrowingCache | None:
        """Return what stages the runs of a place: each run of a decoding step has one of its own, and prompts do."""
        if not self._growing:
            return None
        if place not in self._arenas:
            self._arenas[place] = GrowingCache(self._growing, self._cache, self._device)
        return self._arenas[place]

    def keep_arenas(self, places: Collection[int]) -> None:
        """Let go of the arenas of all other places."""
        self._arenas = {place: arena for place, arena in self._arenas.items() if place in places}

    def first_positions(self, slots: Sequence[Slot], past: Sequence[int]) -> Sequence[int]:
        """Return the row of the position table that each slot's next token uses."""
        if not self._second_table:
            return past
        return [
            before + self._second_table * slot.key.position_table
            for slot, before in zip(slots, past, strict=True)
        ]

    def bind(
        self,
        session: DecoderSession,
        buffers: StepBuffers,
        slots: Sequence[Slot],
        shape: tuple[int, int],
        *,
        side: int,
        arena: GrowingCache | None,
        is_repeated: bool = False,
    ) -> Binding:
        """Bind a run of so many (positions, logits) per row that reads the states of one side and writes the other's."""
        binding = session.bind(is_repeated=is_repeated)
        first, num_rows = slots[0].index, len(slots)
        num_positions, num_logits = shape
        buffers.bind(binding, rows=num_rows, positions=num_positions, num_logits=num_logits)
        for place, port in enumerate(session.graph.cache):
            if not port.grows:
                past, present = (
                    self._cache.sides[at][place].rows(first, num_rows) for at in (side, 1 - side)
                )
                past, present = (each.shaped(port.shape(num_rows, each.shape[2])) for each in (past, present))
                binding.input(port.past, past, session.device)
                binding.output(port.present, present, session.device)
        if arena:
            arena.bind(binding, rows=num_rows, num_new=num_positions)
        return binding
