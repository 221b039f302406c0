"""Steps of decoding: one token for each of some slots, in as few runs of the graph as it takes.

Where the graph's shapes stay as they are, a step binds once per place and number of rows; from then on it writes some
integers and runs. Where the device records runs and chooses tokens, the next step is launched as soon as it is known which
tokens it appends, before anybody asks for it: the device computes while the host looks at what came. A launched step is
nothing but values behind the slots' tokens until somebody asks for it, or for a part of its rows; if other slots or other
tokens are wanted, it is passed over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genai.cache import KVCache, Slot
from genai.errors import GenerationError
from genai.model import Span, StepOutput
from genai.runtime.adapters import NO_ADAPTERS, AdapterInputs
from genai.runtime.binding import Binding, run
from genai.runtime.cache_runs import CacheRuns
from genai.runtime.growing import GrowingCache
from genai.runtime.kept_bindings import KeptBindings
from genai.runtime.runs import decoding_runs
from genai.runtime.session import DecoderSession
from genai.runtime.step_buffers import StepBuffers

__all__ = ["PROMPTS", "Decoding"]

PROMPTS = -1
"""The arena of prompts; those of decoding steps go by their first slot."""


@dataclass(frozen=True, slots=True)
class _Launched:
    """A step that the device computes, or has computed, and that no slot knows of yet.

    Args:
        row: The slots that run, idle ones too. Those that do not go on may have moved since.
        first: The place of the first of them, when it was launched.
        appended: The tokens that it appends, with what the slots were then: place, revision, length.
        epoch: The cache's, when it was launched.
    """

    row: Sequence[Slot]
    first: int
    appended: Mapping[Slot, tuple[int, int, int, int]]
    epoch: int

    def appends(self, token_of: Mapping[Slot, int], epoch: int) -> bool:
        """Whether these tokens are among those that it appends, to slots that are as they were."""
        return self.epoch == epoch and all(
            self.appended.get(slot) == _appended(slot, token_id) for slot, token_id in token_of.items()
        )


def _appended(slot: Slot, token_id: int) -> tuple[int, int, int, int]:
    return slot.index, slot.revision, len(slot.token_ids), token_id


class Decoding:
    """Runs the decoding steps of one session.

    Args:
        session: The session.
        cache: The slots.
        runs: Binds runs over them.
        max_batch: Most rows of a step.
        adapters: What steps are told of adapters, where the graph has places for some.
    """

    def __init__(
        self,
        session: DecoderSession,
        cache: KVCache,
        runs: CacheRuns,
        *,
        max_batch: int,
        adapters: AdapterInputs | None = None,
    ) -> None:
        graph = session.graph
        self._session = session
        self._cache = cache
        self._runs = runs
        self._adapters = adapters
        self.takes_any_rows = graph.takes_any_rows and not runs.grows
        self._is_stable = graph.is_stable
        self._freezes = session.freezes_scalars
        can_record = graph.is_stable and not (self._freezes and graph.has_changing_scalars)
        self._records = session.captures and can_record
        self._buffers = StepBuffers(graph, session.step_device, rows=max_batch, tokens=max_batch)
        self._bound = KeptBindings(cache, records=self._records)
        self._next: _Launched | None = None

    def step(self, spans: Sequence[Span], *, is_alone: bool) -> StepOutput:
        """Append one token to each slot; the logits are perhaps of idle rows too.

        Args:
            spans: The tokens; at least one.
            is_alone: Whether nothing else runs beside them, so that the next step will probably be of the same slots.
        """
        token_of = {span.slot: span.token_ids[0] for span in spans}
        if not self.takes_any_rows:
            return self._step_in_runs(token_of)
        launched, self._next = self._next, None
        if launched is not None and launched.appends(token_of, self._cache.epoch):
            row, first = launched.row, launched.first
        else:
            row = self._launch(token_of)
            first = row[0].index
        self._session.finish()  # here, where what fails is nobody's step yet
        self._commit(token_of)
        num_rows = len(row)
        buffers = self._buffers
        may_go_on = self._records and is_alone and all(span.goes_on_greedily for span in spans)

        def best_ids() -> Sequence[int]:
            ids = buffers.best_ids(num_rows)
            if may_go_on:
                self._launch_next({slot: ids[slot.index - first] for slot in token_of}, row)
            return ids

        return StepOutput(
            lambda: buffers.logits(num_rows, 1, 1)[:, 0],
            [slot.index - first for slot in token_of],
            best_ids if self._session.graph.gives_best_ids else None,
        )

    def rehearse(self, slots: Sequence[Slot]) -> StepOutput:
        """Run a step of these slots that appends nothing: what it writes lies behind their tokens."""
        row = self._launch(dict.fromkeys(slots, 0))
        return StepOutput(lambda: self._buffers.logits(len(row), 1, 1)[:, 0], range(len(row)))

    def _launch(self, token_of: Mapping[Slot, int], row: Sequence[Slot] | None = None) -> Sequence[Slot]:
        """Begin a step of a row that is known to be these slots, or of one that they are lined up in; return the row."""
        if row is None:
            row = self._cache.line_up(list(token_of), in_blocks=self._records)
        idle = frozenset(row) - token_of.keys() if len(row) > len(token_of) else frozenset()
        self._run(row, [token_of.get(slot, 0) for slot in row], idle=idle)
        return row

    def _launch_next(self, token_of: Mapping[Slot, int], row: Sequence[Slot]) -> None:
        """Begin the step that will probably be asked for, if there is room for it, after one of that row."""
        capacity = self._cache.capacity
        has_room = all(len(slot.token_ids) < capacity for slot in token_of)
        if has_room and min(token_of.values()) >= 0:
            with contextlib.suppress(GenerationError):  # the step that is asked for will fail, if it must
                row = self._launch(token_of, row if len(row) == len(token_of) else None)
                appended = {slot: _appended(slot, token_id) for slot, token_id in token_of.items()}
                self._next = _Launched(row, row[0].index, appended, self._cache.epoch)

    def _commit(self, token_of: Mapping[Slot, int]) -> None:
        """Let the slots have what was appended."""
        self._cache.flip(token_of.keys())
        for slot, token_id in token_of.items():
            slot.token_ids.append(token_id)

    def _step_in_runs(self, token_of: Mapping[Slot, int]) -> StepOutput:
        """Do what `step` does for graphs that do not take any rows together."""
        graph, runs = self._session.graph, self._runs
        if not graph.gathers_rows and graph.max_rows != 1:
            self._cache.line_up(list(token_of))  # what lies between splits a run
        slots = sorted(token_of, key=lambda slot: slot.index)
        parts = decoding_runs(slots, graph)
        runs.keep_arenas({PROMPTS, *(part[0].index for part in parts)})
        logits = np.empty((len(slots), graph.vocab_size), np.float32)
        start_of = {slot: start for start, slot in enumerate(slots)}
        for part in parts:
            arena = runs.arena(part[0].index)
            self._run(part, [token_of[slot] for slot in part], arena=arena)
            if arena:
                arena.collect(part, [1] * len(part), 1)
            self._commit({slot: token_of[slot] for slot in part})
            first = start_of[part[0]]
            logits[first : first + len(part)] = self._buffers.logits(len(part), 1, 1)[:, 0]
        return StepOutput.of(logits, [start_of[slot] for slot in token_of])

    def _run(
        self,
        row: Sequence[Slot],
        token_ids: Sequence[int],
        *,
        idle: Collection[Slot] = (),
        arena: GrowingCache | None = None,
    ) -> None:
        """Run one token of each of some neighbouring slots, of which some are idle."""
        past = [len(slot.token_ids) for slot in row]
        self._buffers.write(
            token_ids,
            past,
            past,
            first_positions=self._runs.first_positions(row, past),
            staged=arena.stage(row, 1) if arena else 0,
            is_long=row[0].key.position_table == 1,
            total_length=self._cache.capacity if self._records and self._freezes else None,
        )
        active = NO_ADAPTERS
        if self._adapters is not None:
            active = self._adapters.write([None if slot in idle else slot.key.adapter for slot in row])
        run(self._binding(row, self._cache.align(row, idle=idle), arena, active))

    def _binding(
        self, row: Sequence[Slot], side: int, arena: GrowingCache | None, active: tuple[int, int]
    ) -> Binding:
        """Return the binding for some rows, made anew only after the cache has moved (or if it must be)."""
        if not self._is_stable:
            return self._bind(row, side, arena, active)
        if self._session.provider.copies_at_bind and not self._records:
            self._bound.release()
        key = (row[0].index, len(row), side, *active)
        return self._bound.get(key, lambda: self._bind(row, side, arena, active))

    def _bind(
        self, row: Sequence[Slot], side: int, arena: GrowingCache | None, active: tuple[int, int]
    ) -> Binding:
        binding = self._runs.bind(
            self._session, self._buffers, row, (1, 1), side=side, arena=arena, is_repeated=self._records
        )
        if self._adapters is not None:
            inputs = self._session.graph.adapter_inputs
            self._adapters.bind(binding, active, rows=len(row), inputs=inputs)
        return binding
