"""What reads tokens without continuing them, between the steps of what runs: logits, and what slots hold.

Knows no request: it takes a slot while no step runs, and has steps taken until one is free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from genai.cache import CachedPrefix, PrefixKey, Slot
from genai.engine.admission import Admission
from genai.engine.loop import Loop
from genai.engine.prompt_budget import PromptBudget
from genai.errors import OptionError, OutOfMemoryError
from genai.model import Model, Span

__all__ = ["SlotReading"]

_Found = TypeVar("_Found")


class SlotReading:
    """Reads texts in the slots of a model that runs requests beside.

    Args:
        model: The model.
        loop: What runs requests over it.
        budget: In how large chunks texts are read.
        admission: What tells tokens that the model cannot be fed.
    """

    def __init__(self, model: Model, loop: Loop, budget: PromptBudget, admission: Admission) -> None:
        self._model = model
        self._loop = loop
        self._scheduler = loop.scheduler
        self._budget = budget
        self._admission = admission

    def score(
        self, token_ids: Sequence[int], *, num_logits: int | None = None, adapter: str | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the logits at the last of these tokens, float32 [num_logits, vocab]; waits for a free slot.

        What a slot holds of the tokens before them is not computed again, so that a long text can be scored part by
        part. `num_logits` of None are those at every token.

        Raises:
            OptionError: There are more tokens than the context or kv_cache_bytes holds, or none; or fewer than
                `num_logits`; or the model has no such adapter.
            GenerationError: The model failed to run; then whatever else runs has failed too.
        """
        self._admission.check_prompt(token_ids)
        self._admission.check_adapter(adapter)
        if num_logits is None:
            num_logits = len(token_ids)
        if not 1 <= num_logits <= len(token_ids):
            raise OptionError(
                f"num_logits must be at least 1 and at most {len(token_ids)}, the number of tokens, not {num_logits}"
            )
        before, scored = token_ids[:-num_logits], token_ids[-num_logits:]

        def score(slot: Slot) -> npt.NDArray[np.float32]:
            self._append(slot, before)
            output = self._model.run([Span(slot, scored, num_logits)])
            logits = output.logits_of(0, num_logits)
            return logits if output.logits.base is None else logits.copy()  # a view is of a run's own buffer

        return self._read(before, score, num_positions=len(token_ids), adapter=adapter)

    def compute_prefix(self, token_ids: Sequence[int], *, adapter: str | None = None) -> CachedPrefix:
        """Return what a slot holds of these tokens, computed as far as no slot does yet; waits for a free slot.

        Raises:
            OptionError: They leave no room for another token, or are more than kv_cache_bytes holds, or none; or the model
                has no such adapter.
            GenerationError: The model failed to run; then whatever else runs has failed too.
        """
        self._admission.check_prompt(token_ids)
        self._admission.check_adapter(adapter)
        if len(token_ids) == self._model.context_length:
            raise OptionError(
                f"the prompt fills the context of {len(token_ids)} tokens, so that nothing could go on from it: shorten it"
            )

        def compute(slot: Slot) -> CachedPrefix:
            self._append(slot, token_ids)
            return self._model.cache.read(slot)

        return self._read(token_ids, compute, num_positions=len(token_ids), adapter=adapter)

    def write_prefix(self, prefix: CachedPrefix) -> None:
        """Let a slot hold what another one held, as if it had been computed here; waits for a slot.

        Raises:
            OptionError: It is longer than the context or kv_cache_bytes allows, or was computed in another way than it would
                be here.
        """
        token_ids = prefix.token_ids
        self._admission.check_prompt(token_ids)
        key = self._scheduler.key_of(len(token_ids), prefix.key.adapter)
        if prefix.key != key:
            raise OptionError("the saved cache was computed with another table of positions")
        self._with_slot(token_ids, lambda slot: self._model.cache.write(slot, prefix), len(token_ids), key)

    def _read(
        self,
        token_ids: Sequence[int],
        use: Callable[[Slot], _Found],
        *,
        num_positions: int,
        adapter: str | None,
    ) -> _Found:
        """Use a slot that holds as much of these tokens as any, all but a chunk of a long text.

        The chunks before the last are read in turns of their own, with a step of whatever else runs between two of them.
        Others may take the slot meanwhile; so it is tried no more often than the text has chunks.
        """
        key = self._scheduler.key_of(num_positions, adapter)
        chunk = self._budget.max_tokens(is_decoding=self._scheduler.has_work)
        wanted = [*token_ids, 0]  # a slot keeps one token less than it is asked for, whatever that is
        for _ in range(len(token_ids) // chunk):
            if len(wanted) - self._model.cache.num_cached(wanted, key=key) - 1 <= chunk:
                break
            self._with_slot(
                wanted, lambda slot: self._append(slot, token_ids, max_tokens=chunk), num_positions, key
            )
            if self._scheduler.has_work:
                self._loop.advance()
        return self._with_slot(wanted, use, num_positions, key)

    def _append(self, slot: Slot, token_ids: Sequence[int], *, max_tokens: int | None = None) -> None:
        """Append what a slot lacks of these tokens, chunk by chunk; at most so many of them.

        Somebody who is late may still give up what the slot held before (`Model.give_up`): then a chunk runs once more.
        """
        end, chunk = len(token_ids), self._budget.largest
        if max_tokens is not None:
            end = min(end, len(slot.token_ids) + max_tokens)
        while (num_held := len(slot.token_ids)) < end:
            self._model.run([Span(slot, token_ids[num_held : min(num_held + chunk, end)])])
            self._model.cache.take_snapshot(slot)

    def _with_slot(
        self, token_ids: Sequence[int], use: Callable[[Slot], _Found], num_positions: int, key: PrefixKey
    ) -> _Found:
        """Use a slot between two steps, once one is free: one that holds as much of these tokens as any."""
        while True:
            with self._loop.turn.held(urgent=True):
                cache, slot = self._model.cache, None
                try:
                    slot = cache.acquire(token_ids, key=key)
                    if slot is not None and cache.reserve(num_positions):
                        return use(slot)
                    if not self._scheduler.running:
                        raise OptionError(
                            f"{num_positions} tokens need more KV cache than kv_cache_bytes allows"
                        )
                except (OptionError, OutOfMemoryError):
                    raise  # the slots are sound
                except BaseException as error:
                    self._loop.abandon(error)
                    raise
                finally:
                    if slot is not None and slot.in_use:
                        cache.release(slot)
            self._loop.advance()
